import pytest
import torch

from tests.scenarios import Bench
from workflow.clock import Deadline
from workflow.kernels import chain
from workflow.kernels.metric import isotropic
from workflow.kernels.stages import Stages
from workflow.store.checkpoint import Checkpoint
from workflow.tasks.llc.curvature import hessian
from workflow.tasks.llc.estimand import Estimand
from workflow.tasks.llc.runs import Goal, by_sgld
from workflow.tasks.llc.target import load
from workflow.tasks.llc.warmup import Arrived

LINEAR = {"kind": "mlp", "in_dim": 6, "out_dim": 1, "depth": 0, "widths": [], "activation": "identity"}
NOISY = {"data": {"n_data": 1000, "noise_scale": 0.05}}


def sgld(estimand, generator, relative_error):
    metric = isotropic(estimand.centre, estimand.gamma**-0.5)
    arrived = Arrived(metric, estimand.starts(400, generator), 0)
    stages = Stages(Checkpoint(), generator, estimand)
    return by_sgld(estimand, arrived, stages, Goal(relative_error, Deadline()))


@pytest.fixture
def regression(tmp_path):
    bench = Bench({"model": LINEAR, "overrides": NOISY}, tmp_path)
    return Estimand(load(bench.problem, bench.folder))


def test_minibatches_add_to_the_llc_what_is_predicted(regression, generator):
    """1/2 tr[t H (t H + gamma)^-1] is the LLC without noise."""
    eigenvalues = regression.t * torch.linalg.eigvalsh(hessian(regression.target.loss, regression.centre))
    exact = 0.5 * float((eigenvalues / (eigenvalues + regression.gamma)).sum())
    run = sgld(regression, generator, relative_error=0.3)

    _, trace = chain.run(run.kernel, run.state, generator, chain.Schedule(3000, 10), run.observe, Deadline())

    added = float(trace.values["excess"][30:].mean()) / exact - 1.0
    assert 0.05 < run.heat <= 0.15
    assert added == pytest.approx(run.heat, rel=0.3)


def test_a_smaller_error_takes_larger_minibatches(regression, generator):
    batches = [sgld(regression, generator, error).settings["batch"] for error in (0.6, 0.1, 0.01)]

    assert batches == sorted(set(batches))
    assert batches[-1] == regression.n
