import torch
from parsl_optuna.core.clock import Deadline, Expired
from parsl_optuna.kernels import chain, hmc

from tests.unit.kernels.gaussian import potential

PRECISION = torch.ones(2, dtype=torch.float64)


def start(generator):
    kernel = hmc.build(potential(PRECISION), hmc.Params(0.5, PRECISION, 4))
    return kernel, kernel.init(torch.zeros(3, 2, dtype=torch.float64), generator)


def observe(before, after):
    return {"w": after.position[:, 0]}


def test_every_thins_and_counts_all_work(generator):
    kernel, state = start(generator)

    _, trace = chain.run(kernel, state, generator, chain.Schedule(10, every=3), observe, Deadline())

    assert trace.values["w"].shape == (3, 3)
    assert trace.n_steps == 10
    assert trace.grad_evals >= 20
    assert not trace.truncated


def test_a_deadline_truncates(generator):
    kernel, state = start(generator)
    ticks = iter(range(1000))
    deadline = Deadline(6.0, now=lambda: float(next(ticks)))

    _, trace = chain.run(kernel, state, generator, chain.Schedule(100), observe, deadline)

    assert trace.truncated
    assert trace.n_steps == 6


def test_extending_is_running_on(generator):
    """Two runs joined are one run: same draws, same counts."""
    kernel, state = start(generator)
    first_stream, second_stream = (torch.Generator().manual_seed(5) for _ in range(2))

    _, whole = chain.run(kernel, state, first_stream, chain.Schedule(20), observe, Deadline())
    middle, head = chain.run(kernel, state, second_stream, chain.Schedule(12), observe, Deadline())
    _, tail = chain.run(kernel, middle, second_stream, chain.Schedule(8), observe, Deadline())
    joined = chain.extend(head, tail)

    assert torch.equal(whole.values["w"], joined.values["w"])
    assert (whole.n_steps, whole.grad_evals) == (joined.n_steps, joined.grad_evals)


def test_traces_beside_each_other_have_the_chains_of_both(generator):
    kernel, state = start(generator)

    state, first = chain.run(kernel, state, generator, chain.Schedule(5), observe, Deadline())
    _, second = chain.run(kernel, state, generator, chain.Schedule(5), observe, Deadline())
    both = chain.beside(first, second)

    assert torch.equal(both.values["w"], torch.cat([first.values["w"], second.values["w"]], dim=1))
    assert both.acceptance.shape == both.diverged.shape == both.values["w"].shape
    assert both.n_steps == 5
    assert chain.beside(chain.nothing(), second) is second


def test_no_step_at_all_gives_an_empty_trace(generator):
    kernel, state = start(generator)

    _, trace = chain.run(kernel, state, generator, chain.Schedule(0), observe, Deadline())

    assert trace.n_draws == 0


def test_thinning_halves_and_loses_no_divergence(generator):
    kernel, state = start(generator)
    _, trace = chain.run(kernel, state, generator, chain.Schedule(9), observe, Deadline())
    diverged = torch.zeros_like(trace.diverged)
    diverged[2] = True

    thin = chain.thinned(trace._replace(diverged=diverged))

    assert torch.equal(thin.values["w"], trace.values["w"][1:8:2])
    assert thin.n_draws == 4
    assert thin.diverged[:, 0].tolist() == [False, True, False, False]
    assert thin.n_steps == trace.n_steps


def test_the_later_half_keeps_the_account_of_all_work(generator):
    kernel, state = start(generator)
    _, trace = chain.run(kernel, state, generator, chain.Schedule(9), observe, Deadline())

    half = chain.later_half(trace)

    assert torch.equal(half.values["w"], trace.values["w"][4:])
    assert (half.n_steps, half.grad_evals) == (trace.n_steps, trace.grad_evals)


def test_a_step_that_runs_out_of_time_is_undone_and_ends_the_run(generator):
    kernel, state = start(generator)
    calls = iter(range(1000))

    def step(state, generator):
        if next(calls) == 5:
            raise Expired("now")
        return kernel.step(state, generator)

    last, trace = chain.run(
        kernel._replace(step=step), state, generator, chain.Schedule(100, every=2), observe, Deadline()
    )

    assert (trace.n_steps, trace.n_draws, trace.truncated) == (5, 2, True)
    assert torch.isfinite(last.position).all()
