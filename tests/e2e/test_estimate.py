"""``parsl-optuna estimate`` as a user types it."""

import json

import pytest
import torch
import yaml

from tests.e2e.command import run
from tests.lines import MODEL
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


def test_an_approximation_is_told_with_what_shows_that_it_is_poor(tmp_path):
    out, _ = run("parsl-optuna", "estimate", "--problem", "dln", "--kernel", "laplace", cwd=tmp_path, code=1)

    assert "status   uncertain: k-hat " in out
    assert " ± ? in " in out
    assert "normal approximation " in out


def test_what_too_short_a_run_does_not_know_is_left_out(tmp_path):
    out, _ = run("parsl-optuna", "estimate", "--problem", "dln", "--budget", "1e-6", cwd=tmp_path, code=1)

    _, *lines = out.splitlines()  # the first one has the LLC ± nan
    assert "too few draws for R-hat" in lines[0]
    assert "nan" not in "".join(lines)


@pytest.fixture
def training(tmp_path):
    """A line through the origin: weight 1 on its way, 2 at the minimum of a loss of 0."""
    (tmp_path / "line.py").write_text(MODEL)
    (tmp_path / "steps").mkdir()
    for step, weight in ((10, 2.0), (9, 1.0)):
        torch.save({"weight": torch.tensor([[weight]])}, tmp_path / "steps" / f"step_{step}.pt")
    return tmp_path


ALONG = ("parsl-optuna", "estimate", "--checkpoints", "steps", "--model", "line.py:parts", "--error", "0.05")


@pytest.mark.system
def test_checkpoints_are_trials_of_which_none_runs_twice(training):
    out, _ = run(*ALONG, cwd=training, code=1)
    torch.save({"weight": torch.tensor([[2.0]])}, training / "steps" / "step_11.pt")
    again, told = run(*ALONG, cwd=training, code=1)

    first, second, *_ = out.splitlines()
    assert first.startswith("9: loss 0.3401, LLC -")
    assert "(not_minimum: " in first
    assert second.startswith("10: loss 0, LLC 0.4")
    assert second.endswith("(ok)")
    assert "2 checkpoints, 2 run by this command" in out
    assert again.splitlines()[:2] == [first, second]
    assert "3 checkpoints, 1 run by this command" in again
    assert told.startswith("trials 2/3")
    assert "best" not in told
    assert (training / "results" / "llc_along_training.png").stat().st_size > 5_000


def test_a_checkpoint_that_does_not_fit_fails_alone(training):
    torch.save({"bias": torch.ones(1)}, training / "steps" / "step_8.pt")

    out, _ = run(*ALONG, "--inline", "--json", cwd=training, code=1)

    found = json.loads(out)
    assert [row["status"] for row in found] == ["failed", "not_minimum", "ok"]
    assert "step_8.pt: does not fit the model" in found[0]["reason"]
    assert abs(found[2]["llc"] - 0.5) < 0.05


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "line.py:part"], "--model: no function 'part' in line.py; did you mean 'parts'?"),
        (["--model", "lin.py:parts"], "--model: no file 'lin.py'"),
        ([], "--checkpoints: give --model FILE.py:NAME"),
        (["--model", "line.py:parts", "--checkpoints", "nowhere"], "nowhere is not a folder"),
        (["--model", "line.py:parts", "--device", "gpu"], "device 'gpu': "),
        (["--model", "line.py:parts", "--device", "cuda:0,cuda:0"], "one is named twice; name each once"),
        (["--model", "line.py:parts", "--gamma", "0"], "gamma 0.0 must be above 0"),
        (["--model", "line.py:parts", "--set", "a=1"], "--set: goes with --problem"),
        (["--problem", "dln"], "give either --problem FILE|PRESET or --checkpoints"),
    ],
)
def test_bad_input_of_checkpoints_is_one_line(training, arguments, said):
    _, err = run("parsl-optuna", "estimate", "--checkpoints", "steps", *arguments, cwd=training, code=2)

    assert said in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--problem", "dln", "--gamma", "2"], "--gamma: goes with --checkpoints"),
        (["--problem", "dnl"], "--problem dnl: neither a file nor a preset; did you mean 'dln'?"),
        (["--problem", "dln", "--kernel", "nutz"], "no kernel 'nutz'"),
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
