from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.core.records import Outcome, State
from parsl_optuna.worker import execute as worker

from tests.unit.worker.test_execute import stored

NOW = "2026-01-01T00:00:00.000Z"


@given(st.sampled_from(State), st.dictionaries(st.text(min_size=1), st.integers()))
def test_outcomes_go_to_json_and_back(state, metrics):
    outcome = Outcome(
        "r_1", "p_1", "m", state, None, 1.0, 2.0, NOW, NOW, "host", objectives={"error": 1.0}, metrics=metrics
    )

    assert Outcome.from_json(outcome.to_json()) == outcome


def test_a_reference_has_no_budget_in_its_identity(tmp_path):
    _, reference = stored(tmp_path, role="reference")
    _, trial = stored(tmp_path)

    assert "budget_sec" not in reference.identity()
    assert "budget_sec" in trial.identity()


def test_a_lost_worker_leaves_a_complete_outcome(tmp_path):
    _, manifest = stored(tmp_path)

    outcome = worker.failure(manifest, State.LOST, "gone")

    assert Outcome.from_json(outcome.to_json()) == outcome
    assert outcome.budget_sec == manifest.budget_sec
