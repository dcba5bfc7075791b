import io
from datetime import UTC, datetime

from parsl_optuna.report.watch import Watched, screen
from rich.console import Console

NOW = datetime(2026, 1, 1, 12, 2, tzinfo=UTC)


def event(kind, second, **details):
    return {"at": f"2026-01-01T12:00:{second:02d}.000+00:00", "event": kind, **details}


def watched(*events):
    found = Watched()
    for one in events:
        found.add(one)
    return found


def drawn(found, progress=None, lines=40):
    stream = io.StringIO()
    Console(file=stream, width=140).print(screen(found, progress, {"p_1": "small"}, NOW, lines))
    return stream.getvalue()


RUN = (
    event("command_started", 0, command="parsl-optuna --config a.yaml"),
    event("block_requested", 1, job="7"),
    event("queued", 1, trial_id="r_1", pid="p_1", method="sgld"),
    event("queued", 1, trial_id="r_2", pid="p_1", method="sgld"),
    event("queued", 1, trial_id="r_3", pid="p_1", method="sgld"),
    event("block_granted", 2, job="7"),
    event("started", 3, trial_id="r_1", pid="p_1", host="n1"),
    event("ended", 9, trial_id="r_1", pid="p_1", state="ok", runtime_sec=6.0),
)


def row(text, start):
    return next(line for line in text.splitlines() if line.startswith(start)).split()


STUDY = {"pid": "p_1", "label": "small", "method": "sgld", "ended": 1, "max_trials": 9, "best": 0.12345}
BLOCK = {"job": "7", "phase": "running", "workers": 4, "for_sec": 9.0}
PROGRESS = {
    "written": "2026-01-01T12:01:40.000+00:00",
    "studies": [STUDY],
    "backend": {"running": 2, "queued": 1, "blocks": [BLOCK], "notes": ["job 8 waits: Priority"]},
    "elapsed_sec": 10.0,
    "left_sec": 70.0,
}


def test_trials_are_counted_where_they_are():
    text = drawn(watched(*RUN))

    assert "parsl-optuna --config a.yaml\nrunning, started 2 min 00 s ago" in text
    assert row(text, "small") == ["small", "sgld", "-", "-", "1", "0", "0", "2"]
    assert row(text, "r_2") == ["r_2", "small", "sgld", "1", "min", "59", "s"]
    assert "blocks: 1 running, 0 queued (7 running)" in text
    assert "12:00:09  ended  trial_id=r_1" in text


def test_the_best_value_the_queue_and_the_workers_are_those_the_driver_wrote():
    text = drawn(watched(*RUN), PROGRESS)

    assert row(text, "small") == ["small", "sgld", "1/9", "0.1235", "1", "0", "0", "2"]
    assert "trials 1/9 · about 1 min 10 s left" in text
    assert "workers: 2 of 4 busy · queued: 1 · 15% of their time in trials that have ended" in text
    assert "job 8 waits: Priority" in text
    assert "silent" not in text


def test_a_driver_that_was_killed_is_noticed():
    assert "silent for 1 min 59 s" in drawn(
        watched(*RUN), PROGRESS | {"written": "2026-01-01T12:00:01+00:00"}
    )


def test_what_an_earlier_command_wrote_is_not_this_ones():
    text = drawn(watched(*RUN), PROGRESS | {"written": "2026-01-01T11:59:00+00:00"})

    assert "0.1235" not in text
    assert "1/9" not in text


def test_a_failed_trial_is_counted():
    text = drawn(watched(RUN[0], RUN[2], event("ended", 5, trial_id="r_1", pid="p_1", state="timeout")))

    assert row(text, "small") == ["small", "sgld", "-", "-", "0", "0", "1", "0"]


def test_a_new_command_begins_from_nothing_and_an_ended_one_runs_nothing():
    ended = watched(*RUN, event("command_ended", 20, how="interrupted"))
    again = watched(*RUN, event("command_started", 30, command="again"))

    assert "ended: interrupted" in drawn(ended)
    assert "r_2" not in drawn(ended).split("12:00")[0]
    assert again.counts == {}
    assert again.trials == {}


def test_events_of_later_versions_are_shown():
    assert "melted  what=core" in drawn(watched(RUN[0], event("melted", 5, what="core")))


def test_a_best_value_has_the_digits_that_its_driver_tells():
    study = STUDY | {"best": 1e9 + 0.25, "digits": 12}

    text = drawn(watched(*RUN), PROGRESS | {"studies": [study]})

    assert row(text, "small")[3] == "1000000000.25"
