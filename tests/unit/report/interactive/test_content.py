from datetime import UTC, datetime

from parsl_optuna.report.interactive.content import events_of, trial_of
from parsl_optuna.store.layout import Artifacts
from parsl_optuna.tasks.base import resolve_task

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
ROW = {
    "pid": "p_1",
    "method": "guess",
    "trial_id": "r_1",
    "trial_number": 3,
    "state": "ok",
    "reason": None,
    "objective": 0.5,
    "error": 0.5,
    "size": 7.0,
    "problem": "small",
    "task": "t",
    "asked_by": "tpe",
    "host": "n1",
    "runtime_sec": 2.0,
    "started": NOON,
    "ended": NOON,
    "hyperparams_json": '{"x": 1, "kind": null, "seed": 4}',
    "seed": 0,
    "value": float("nan"),
    "llc": 3.0,
    "metrics": {"free": "text", "llc": 9.0},
    "diagnostics": None,
}


def content(folder, **changes):
    return trial_of(ROW | changes, None, ["loss", "size"], Artifacts(folder / "artifacts"), folder)


def test_a_trial_is_what_the_table_says(tmp_path):
    found = content(tmp_path)

    assert found["values"] == [0.5, 7.0]
    assert found["params"] == {"x": 1, "kind": "null"}
    assert (found["seeds"], found["replicate"], found["verdict"]) == ({"seed": 4}, 0, "ok")
    assert found["began"] == found["ended"] == 1767355200000
    assert found["folder"] == "artifacts/runs/p_1/guess/r_1"


def test_metrics_of_structs_stand_after_the_declared_ones_and_what_is_not_finite_is_missing(tmp_path):
    assert content(tmp_path)["metrics"] == {"size": 7.0, "value": None, "llc": 3.0, "free": "text"}


def test_only_a_failed_trial_brings_the_end_of_its_output(tmp_path):
    store = Artifacts(tmp_path / "artifacts")
    path = store.output("p_1", "guess", "r_1", "stderr")
    path.parent.mkdir(parents=True)
    path.write_text("x" * 5000 + "the end")

    assert "output" not in content(tmp_path)
    assert content(tmp_path, state="failed")["output"].endswith("the end")
    assert len(content(tmp_path, state="failed")["output"]) == 1500


def test_the_last_events_come_first():
    events = [{"at": f"2026-01-0{day}", "event": "ended", "trial_id": f"r_{day}"} for day in (1, 2)]

    assert events_of(events)[0] == {"at": "2026-01-02", "text": "ended  trial_id=r_2"}


def test_the_verdict_is_the_tasks_own_word_on_a_trial_that_ended_ok(tmp_path):
    task = resolve_task("lvae")
    row = ROW | {"outcome": "no_pruning", "method": "lvae"}

    verdicts = [
        trial_of(row | {"state": state}, task, ["loss", "size"], Artifacts(tmp_path), tmp_path)["verdict"]
        for state in ("ok", "failed")
    ]

    assert verdicts == ["no_pruning", "failed"]
