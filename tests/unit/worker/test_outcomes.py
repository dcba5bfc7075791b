import socket

from parsl_optuna.core.records import Manifest, State
from parsl_optuna.worker.outcomes import ended


def test_an_outcome_is_that_of_its_manifest_and_began_before_it_ended():
    manifest = Manifest("toy", 1, "trial", "p_1", "guess", {"x": 1.0}, 0, 5.0)

    found = ended(manifest, State.FAILED, "why", runtime_sec=2.0, metrics={"loss": 1.0})

    assert (found.trial_id, found.pid, found.method) == (manifest.trial_id, "p_1", "guess")
    assert (found.state, found.reason, found.budget_sec) == (State.FAILED, "why", 5.0)
    assert found.host == socket.gethostname()
    assert found.started < found.ended
    assert found.metrics == {"loss": 1.0}
