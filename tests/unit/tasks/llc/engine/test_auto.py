"""Nothing is tuned: every target with the same defaults, against answers that are known at finite n."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from parsl_optuna.core.clock import Deadline
from parsl_optuna.tasks.base import Work, run_task
from parsl_optuna.tasks.llc import TASK
from parsl_optuna.tasks.llc.engine import draw
from parsl_optuna.tasks.llc.engine.auto import chains_for
from parsl_optuna.tasks.llc.samplers import langevin, sgld

from tests.scenarios import DLN, Bench, first_fast, n_beta, power, quadratic, w1w2_squared

T = n_beta(1000)
N_1000 = {"data": {"n_data": 1000}}
SIGMAS = 4.0
CURVATURES = [0.0, 1e-3, 0.5, 4.0, 1e3]
NUTS = pytest.param("nuts", marks=pytest.mark.slow)  # as hmc, but for its trajectories
KNOWN = {
    "regular": ({"model": "quadratic"}, quadratic([2.0] * 10, T), 0.0),
    "stiff and flat": (
        {"model": {"kind": "quadratic", "dim": 5, "curvature": CURVATURES}},
        quadratic(CURVATURES, T),
        0.0,
    ),
    "w^4": ({"model": {"kind": "monomial", "exponents": [4]}}, power(4, T), 0.0),
    "w1^2 w2^2": ({"model": "monomial"}, w1w2_squared(T), 0.0),
    **{
        f"dln {widths} {rank}": ({"model": {"kind": "dln", "widths": list(widths), "rank": rank}}, *known)
        for (widths, rank), known in DLN.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("kernel", ["langevin", "hmc", "nuts", "sgld"])
@pytest.mark.parametrize("name", [*list(KNOWN)[:4], *first_fast(list(KNOWN)[4:])])
def test_the_answer_is_right_within_its_error(tmp_path, name, kernel):
    raw, truth, uncertainty = KNOWN[name]

    bench = Bench({**raw, "overrides": N_1000}, tmp_path)
    metrics = bench.run("auto", kernel=kernel, relative_error=0.01, budget_sec=300.0)

    # The step of SGLD, 0.4 of the stability limit, leaves a bias of about 1 % on singular targets.
    bias = 0.01 * truth if kernel == "sgld" else 0.0
    error = math.hypot(metrics["se_hat"], uncertainty)
    assert abs(metrics["llc_hat"] - truth) < SIGMAS * error + bias
    assert metrics["se_hat"] <= 0.0101 * metrics["llc_hat"]
    assert metrics["status"] == "ok", metrics["status_reason"]
    assert not metrics["truncated"]


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["langevin", "hmc", "nuts", "sgld"])
def test_a_network_on_minibatches_and_on_all_data_agree(tmp_path, kernel, monkeypatch):
    monkeypatch.setattr(langevin, "_REJECTED", 0.0)  # never test each step
    tanh = {"kind": "mlp", "in_dim": 2, "out_dim": 1, "depth": 1, "hidden": 3, "activation": "tanh"}
    bench = Bench({"model": tanh, "overrides": {"data": {"n_data": 1500}}}, tmp_path)

    exact = bench.run("hmc", draws=4000)
    metrics = bench.run("auto", kernel=kernel, relative_error=0.02, budget_sec=60.0)

    slack = 0.03 * exact["llc_hat"] if kernel == "sgld" else 0.0
    difference = abs(metrics["llc_hat"] - exact["llc_hat"])
    assert difference < SIGMAS * math.hypot(metrics["se_hat"], exact["se_hat"]) + slack
    if kernel == "langevin":
        told = metrics["diagnostics"]
        assert told["minibatches"] > 1
        assert 0.0 < told["gradient_noise_bias"] * metrics["llc_hat"] <= 1.001 * metrics["bias"]


@pytest.mark.parametrize("kernel", ["langevin", "hmc", NUTS, "sgld"])
def test_controls_sharpen_what_is_nearly_normal_and_leave_singular_posteriors_alone(tmp_path, kernel):
    raw, truth, _ = KNOWN["stiff and flat"]
    normal = Bench({**raw, "overrides": N_1000}, tmp_path / "normal").run("auto", kernel=kernel)
    raw, _, _ = KNOWN["w1^2 w2^2"]
    bench = Bench({**raw, "overrides": N_1000}, tmp_path / "singular")
    singular = bench.run("auto", kernel=kernel, relative_error=0.03)

    assert normal["diagnostics"]["control_gain"] > 30
    assert abs(normal["llc_hat"] - truth) < SIGMAS * normal["se_hat"]
    assert singular["diagnostics"]["control_gain"] == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("kernel", ["langevin", "hmc", NUTS, "sgld"])
def test_a_wrong_centre_is_exactly_negative_and_said(tmp_path, kernel):
    model = {"kind": "quadratic", "dim": 4, "curvature": [2.0], "offset": 0.3}

    metrics = Bench({"model": model, "overrides": N_1000}, tmp_path).run("auto", kernel=kernel)

    truth = quadratic([2.0] * 4, T, offset=0.3)
    assert truth < 0
    assert abs(metrics["llc_hat"] - truth) < SIGMAS * metrics["se_hat"] + 0.01 * abs(truth)
    assert metrics["status"] == "not_minimum"


def test_a_dominating_prior_is_said(tmp_path):
    overrides = {**N_1000, "posterior": {"gamma": 1000.0}}

    metrics = Bench({"model": "monomial", "overrides": overrides}, tmp_path).run("auto")

    assert metrics["status"] == "prior_dominated"


def test_too_little_time_gives_what_there_is_and_never_ok(tmp_path):
    raw = {"model": {"kind": "dln", "widths": [10] * 5, "rank": 3}, "overrides": {"data": {"n_data": 10_000}}}

    metrics = Bench(raw, tmp_path).run("auto", budget_sec=0.3)

    assert metrics["truncated"]
    assert metrics["status"] != "ok"


def test_chains_that_leave_the_finite_numbers_are_drawn_again_with_half_the_step(tmp_path, monkeypatch):
    bench = Bench({"model": "quadratic", "overrides": N_1000}, tmp_path)
    stable = bench.run("auto", kernel="sgld")
    monkeypatch.setattr(sgld, "_FRACTION", (1.5, 1.5))  # of the stability limit

    metrics = bench.run("auto", kernel="sgld")

    assert metrics["status"] == "ok", metrics["status_reason"]
    sizes = [found["diagnostics"]["step_size"] for found in (stable, metrics)]
    assert sizes[1] / sizes[0] == pytest.approx(0.75 / 0.5, rel=0.05)


def test_memory_does_not_grow_with_draws(tmp_path, monkeypatch):
    monkeypatch.setattr(draw, "Run", partial(draw.Run, most_draws=256))
    metrics = Bench({"model": "monomial", "overrides": N_1000}, tmp_path).run(
        "auto", relative_error=1e-9, budget_sec=4.0, chains=4
    )

    assert metrics["truncated"]
    assert metrics["diagnostics"]["n_steps"] > 512
    assert metrics["diagnostics"]["n_draws"] <= 256 + 64


def test_the_traces_are_left_for_a_picture(tmp_path):
    bench = Bench({"model": "monomial", "overrides": N_1000}, tmp_path / "problem")
    params = TASK.complete({}, "auto", {"chains": 8, "relative_error": 0.1}, "test")
    work = Work(bench.problem, "auto", params, 1, Deadline(20.0), bench.folder, files=tmp_path / "files")

    metrics = run_task(TASK, work)

    with np.load(tmp_path / "files" / "trace.npz", allow_pickle=False) as arrays:
        assert arrays["excess"].shape == arrays["controlled"].shape == arrays["distance"].shape
        assert arrays["excess"].shape[1] == 8
        assert float(arrays["excess"].mean()) == pytest.approx(metrics["llc_hat"], rel=0.3)
        assert float(arrays["distance"].min()) > 0


@pytest.mark.parametrize(
    ("device", "dim", "pass_bytes", "expected"),
    [("cpu", 1000, 1e6, 16), ("cpu", 50_000, 1e6, 8), ("meta", 1000, 1e6, 256), ("meta", 50_000, 1e6, 128),
     ("meta", 1000, 2e7, 32), ("meta", 10**6, 1e6, 8)],
)  # fmt: skip
def test_chains_are_as_many_as_cost_little_on_their_device(device, dim, pass_bytes, expected):
    loss = SimpleNamespace(together=True, has_data=True, pass_bytes=pass_bytes)
    estimand = SimpleNamespace(
        recording=SimpleNamespace(size=0),
        target=SimpleNamespace(loss=loss),
        centre=torch.empty(dim, device=device),
        dim=dim,
        n=500,
    )

    assert chains_for(estimand) == expected


@pytest.mark.slow
@pytest.mark.parametrize("kernel", ["langevin", "hmc", "nuts", "sgld"])
@pytest.mark.parametrize("name", ["stiff and flat", "w1^2 w2^2", "dln (2, 2, 2) 0"])
def test_stated_intervals_cover_the_truth(tmp_path, name, kernel):
    """95 % intervals over 100 seeds: between 90 and 99 of them hold the exact value."""
    raw, truth, _ = KNOWN[name]
    bench = Bench({**raw, "overrides": N_1000}, tmp_path)

    runs = [bench.run("auto", seed=seed, kernel=kernel, relative_error=0.02) for seed in range(100)]

    covered = sum(abs(run["llc_hat"] - truth) < 1.96 * run["se_hat"] for run in runs)
    assert 90 <= covered <= 99
