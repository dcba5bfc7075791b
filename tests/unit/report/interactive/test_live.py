import json
import re
from dataclasses import replace

from parsl_optuna.core.clock import utc_now
from parsl_optuna.report.interactive import page
from parsl_optuna.report.interactive.live import LivePage
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.layout import Results

from tests.toyrun import drive, toy_plan
from tests.unit.report.test_live import SNAPSHOT


class Time:
    """A clock that is set by hand."""

    now = 0.0

    def __call__(self):
        return self.now


def shown(results):
    text = results.report.read_text()
    return json.loads(re.search(r'id="data">(.*?)</script>', text, re.S).group(1))


def run(folder):
    plan = toy_plan({"truth": 1.0, "trouble": "some"}, max_trials=8, stop_after_failures=0)
    result = drive(plan, folder)
    ended = [one for study in result.studies for one in study.runs.values()]
    return plan, ended


def test_the_page_follows_a_run_but_not_more_often_than_people_look(tmp_path):
    plan, ended = run(tmp_path)
    results, clock = Results(tmp_path / "results"), Time()
    live = LivePage(plan, ArtifactStore(tmp_path).paths, results, clock)

    later = replace(SNAPSHOT, references_done=2)
    live.show(SNAPSHOT, ended[:3])
    clock.now = 4.0
    live.show(later, ended)
    assert len(shown(results)["trials"]) == 3
    clock.now = 5.0
    live.show(later, ended)

    data = shown(results)
    assert len(data["trials"]) == len(ended)
    assert data["is_running"]
    assert "the luckiest of 3" in data["findings"][0]
    assert data["studies"][0]["done"] == "3/8"
    assert data["written"] <= utc_now()


def test_a_page_on_which_only_the_time_would_change_is_written_once_a_minute(tmp_path, monkeypatch):
    plan, ended = run(tmp_path)
    clock, written = Time(), []
    monkeypatch.setattr(page, "write", lambda content, path: written.append(clock.now))
    live = LivePage(plan, ArtifactStore(tmp_path).paths, Results(tmp_path / "results"), clock)

    for second in range(0, 130, 2):
        clock.now = float(second)
        live.show(replace(SNAPSHOT, elapsed_sec=clock.now), ended)

    assert written == [0.0, 60.0, 120.0]


def test_pages_take_a_hundredth_of_the_time(tmp_path, monkeypatch):
    plan, ended = run(tmp_path)
    results, clock, written = Results(tmp_path / "results"), Time(), []

    def slow(content, path):
        clock.now += 2.0
        written.append(len(content.trials))

    monkeypatch.setattr(page, "write", slow)
    live = LivePage(plan, ArtifactStore(tmp_path).paths, results, clock)
    for second in range(0, 401, 10):
        clock.now = max(clock.now, float(second))
        live.show(SNAPSHOT, ended)

    assert len(written) == 3  # at 0, 200 and 400 s


def test_a_disk_that_does_not_take_the_page_does_not_end_the_run(tmp_path, caplog):
    plan, ended = run(tmp_path)
    results = Results(tmp_path / "results")
    results.root.write_text("no folder")

    LivePage(plan, ArtifactStore(tmp_path).paths, results).show(SNAPSHOT, ended)

    assert "report.html: cannot be written: " in caplog.text
    assert "None" not in caplog.text


def test_the_last_page_says_what_is_best_and_reloads_no_more(tmp_path):
    plan, ended = run(tmp_path)
    results = Results(tmp_path / "results")
    live = LivePage(plan, ArtifactStore(tmp_path).paths, results)
    live.show(SNAPSHOT, ended)
    point = {
        "pid": "p_1",
        "method": "guess",
        "trial_id": "r_1",
        "problem": "small",
        "leading": "error",
        "objective": 0.25,
        "confirmed": 0.5,
        "confirmed_on": 2,
        "varied": {"x": 1.5},
        "fresh_failed": ["it diverged"],
        "fresh_infeasible": 0,
        "baselines": [],
    }

    live.close(ended, [point])

    data = shown(results)
    assert not data["is_running"]
    assert data["findings"] == [
        "guess on small: best error 0.25; 0.5 on 2 fresh seeds, at x=1.5.",
        "small, guess: the selected point failed on 1 of 3 fresh seeds: it diverged.",
    ]
