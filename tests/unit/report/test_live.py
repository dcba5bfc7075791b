import io

import pytest
from parsl_optuna.report.live import Progress, duration, headline
from parsl_optuna.study.progress import Snapshot, StudyStatus
from rich.console import Console

SNAPSHOT = Snapshot(
    2,
    1,
    (
        StudyStatus("small", "p_1", "sgld", 3, 1, 2, 8, 0.25, None),
        StudyStatus("dln", "p_2", "vi", 0, 0, 0, 8, None, "waits for its problem"),
    ),
    61.0,
    125.0,
)


def test_the_headline_says_it_all():
    assert headline(SNAPSHOT) == (
        "references 1/2 · trials 3/16 (2 running, 1 failed) · best 0.25 · 1 min 01 s elapsed"
        " · about 2 min 05 s left"
    )


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "0 s"), (59.6, "1 min 00 s"), (3600, "1 h 00 min"), (7384, "2 h 03 min")]
)
def test_durations(seconds, text):
    assert duration(seconds) == text


def test_a_pipe_gets_one_line_and_no_control_characters():
    stream = io.StringIO()
    with Progress(Console(file=stream, width=60)) as progress:
        progress.show(SNAPSHOT)
        progress.show(SNAPSHOT)

    assert stream.getvalue() == headline(SNAPSHOT) + "\n"


def test_a_terminal_gets_a_table_of_studies():
    stream = io.StringIO()
    with Progress(Console(file=stream, force_terminal=True, width=120)) as progress:
        progress.show(SNAPSHOT)
        progress._live.refresh()

    for word in ("small", "sgld", "3/8", "0.25", "waits for its problem"):
        assert word in stream.getvalue()


def test_a_best_value_has_the_digits_that_tell_it_from_others():
    study = StudyStatus("small", "p_1", "sgld", 3, 1, 2, 8, 1e9 + 0.25, None, digits=12)

    assert " · best 1000000000.25 · " in headline(Snapshot(0, 0, (study,), 1.0, None))
