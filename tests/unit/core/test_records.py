from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsl_optuna.core.errors import SpecError
from parsl_optuna.core.records import Manifest, Outcome, State, check_metric_names
from parsl_optuna.worker import execute as worker

from tests.unit.worker.test_execute import stored

NOW = "2026-01-01T00:00:00.000Z"


@given(st.sampled_from(State), st.dictionaries(st.text(min_size=1), st.integers()))
def test_outcomes_go_to_json_and_back(state, metrics):
    outcome = Outcome(
        "r_1", "p_1", "m", state, None, 1.0, 2.0, NOW, NOW, "host", code={"x.py": "ab"}, metrics=metrics
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


@dataclass(frozen=True)
class Longer(Manifest):
    """A manifest as a later version may have it."""

    nodes: int = 1


def test_a_field_added_to_the_manifest_moves_no_id(tmp_path):
    _, manifest = stored(tmp_path)

    assert Longer.from_json(manifest.to_json()).trial_id == manifest.trial_id
    assert Longer.from_json(manifest.to_json() | {"nodes": 1}).trial_id == manifest.trial_id
    assert Longer.from_json(manifest.to_json() | {"nodes": 2}).trial_id != manifest.trial_id


@pytest.mark.parametrize("name", ["runtime_sec", "", 3, None])
def test_a_name_that_no_metric_can_have_is_refused(name):
    with pytest.raises(SpecError, match="metric"):
        check_metric_names({"loss": 1.0, name: 2.0})


def test_names_of_the_engines_columns_are_fine_for_metrics():
    check_metric_names(dict.fromkeys(["error", "seed", "state", "pid", "objective", "metrics"], 1.0))
