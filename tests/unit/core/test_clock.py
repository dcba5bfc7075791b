import pytest
from parsl_optuna.core.clock import Deadline, Expired, named_phase, utc_now


def test_a_deadline_counts_from_its_making():
    now = [100.0]
    deadline = Deadline(10.0, now=lambda: now[0])
    now[0] = 104.0

    assert (deadline.used_sec, deadline.left_sec, deadline.expired) == (4.0, 6.0, False)
    now[0] = 110.0
    assert deadline.expired


def test_a_part_starts_now():
    now = [0.0]
    deadline = Deadline(10.0, now=lambda: now[0])
    now[0] = 5.0
    part = deadline.part(0.4)
    now[0] = 6.9

    assert not part.expired
    now[0] = 7.0
    assert part.expired


def test_what_is_too_late_is_said_with_its_phase():
    now = [0.0]
    deadline = Deadline(1.0, now=lambda: now[0])
    deadline.check()
    now[0] = 1.0

    with pytest.raises(Expired) as caught, named_phase("outer"), named_phase("inner"):
        deadline.check()

    assert caught.value.phase == "inner"


@pytest.mark.parametrize("budget", [0.0, -1.0, float("nan")])
def test_a_budget_must_be_positive(budget):
    with pytest.raises(ValueError, match="must be positive"):
        Deadline(budget)


def test_timestamps_are_utc():
    assert utc_now().endswith("Z")
