"""``parsl-optuna estimate`` as a user types it."""

import json

import pytest
import yaml

from tests.e2e.command import run
from tests.scenarios import DLN


def test_the_truth_a_picture_and_nothing_twice(tmp_path):
    command = ("parsl-optuna", "estimate", "--problem", "dln", "--json")
    size = ("--set", "overrides.data.n_data=1000", "--set", "overrides.model.widths=[3,3,3]")

    out, _ = run(*command, *size, cwd=tmp_path)
    again, _ = run(*command, *size, cwd=tmp_path)

    found = json.loads(out)[0]
    truth, uncertainty = DLN[((3, 3, 3), 1)]
    assert abs(found["llc_hat"] - truth) < 4 * (found["se_hat"] + uncertainty)
    assert found["status"] == "ok"
    assert (tmp_path / found["picture"]).stat().st_size > 10_000
    assert json.loads(again) == json.loads(out)


def test_a_file_with_several_problems_is_told_one_by_one(tmp_path):
    quadratic = {"kind": "quadratic", "dim": 2}
    problems = [{"model": "monomial"}, {"model": quadratic | {"offset": 1.0}}]
    (tmp_path / "p.yaml").write_text(yaml.safe_dump({"problems": problems}))

    out, _ = run("parsl-optuna", "estimate", "--problem", "p.yaml", cwd=tmp_path, code=1)

    assert "status   ok" in out
    assert "status   not_minimum: " in out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--problem", "dnl"], "--problem dnl: neither a file nor a preset; did you mean 'dln'?"),
        (["--problem", "dln", "--kernel", "nuts"], "no kernel 'nuts'"),
        (["--problem", "dln", "--set", "overrides.model.width=[2]"], "overrides.model.width: unknown key"),
        (["--problem", "dln", "--error", "0"], "relative_error 0.0 must be above 0"),
        (["--problem", "dln", "--budget", "-1"], "--budget -1.0 must be above 0"),
        (["--problem", "empty.yaml"], "empty.yaml $.problems: must be a list"),
    ],
)
def test_bad_input_is_one_line(tmp_path, arguments, said):
    (tmp_path / "empty.yaml").write_text("problems: []\n")

    _, err = run("parsl-optuna", "estimate", *arguments, cwd=tmp_path, code=2)

    assert said in err
    assert err.count("\n") == 1
