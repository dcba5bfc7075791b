import pytest
from parsl_optuna.report.late import missing
from parsl_optuna.store.events import EventLog, EventReader, Kind


@pytest.fixture
def log(tmp_path):
    """A record of two commands: the first one ran a, the second one b, c, and d to confirm."""
    log = EventLog(tmp_path / "events.jsonl")
    for command in ("a", "bcd"):
        log.add(Kind.COMMAND_STARTED)
        for trial_id in command:
            log.add(Kind.ASKED, trial_id=trial_id, by="confirm" if trial_id == "d" else "search")
            log.add(Kind.ENDED, trial_id=trial_id, state="ok")
    log.close()
    return EventReader(tmp_path / "events.jsonl").new()


def test_trials_that_ended_since_the_table_was_written_are_counted(log):
    """Not that of the first command, which may be one of another search space; not the confirmation."""
    (line,) = missing(log, {"b"})

    assert line.startswith("1 more trial of the last command ended")


def test_of_a_whole_table_nothing_is_said(log):
    assert missing(log, {"b", "c"}) == []


def test_without_a_record_nothing_is_known(tmp_path):
    assert missing(EventReader(tmp_path / "events.jsonl").new(), set()) == []
