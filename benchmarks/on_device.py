"""Estimates on a GPU beside those of one core of its machine: agreement, and time to a precision.

Run: python -m benchmarks.on_device estimates | digits | transformer [--device cuda] [--seconds S]
[--gamma G].

`estimates` takes five kinds of networks, trained on the 1,797 digits; the CPU has four times as many seconds,
on a core of its own, while the GPU has one network after the other. `digits` is the network of 57,852
parameters, and `transformer` the one of 1,048,734 parameters, of docs/estimate.md. Its 922 sequences of 64
symbols are of a random Markov chain, so that nothing needs to be loaded.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import torch
from parsl_optuna.api.estimate import Estimate, estimate_llc
from parsl_optuna.tasks.llc.problem.posed import private_copy
from torch import Tensor, nn

from benchmarks.gradient import Block, Language, Recurrent, mlp

_WANTED = 0.01
_CPU_SHARE = 4.0
_HEAD = (
    "| network | parameters | device | LLC | status | chains | draws of each | ESS "
    "| seconds: before, drawing, to 1 % |"
)


class Trained(NamedTuple):
    """A network on the CPU, at weights where its loss hardly falls any more."""

    name: str
    model: nn.Module
    x: Tensor
    y: Tensor


def digits(shape: Callable[[Tensor], Tensor] = lambda x: x) -> tuple[Tensor, Tensor]:
    """Return the digits ``(1797, 64)``, values up to 1, in a shape, and their classes."""
    from sklearn.datasets import load_digits  # noqa: PLC0415

    pixels, classes = load_digits(return_X_y=True)
    return shape(torch.from_numpy(pixels).float() / 16.0), torch.from_numpy(classes)


def tokens(x: Tensor) -> Tensor:
    """Return 16 symbols per digit: the darkness of its 16 squares of 2 x 2 pixels, of 17 degrees."""
    return (16.0 * nn.functional.avg_pool2d(x.view(-1, 1, 8, 8), 2)).flatten(1).round().long()


def networks() -> list[tuple[str, nn.Module, tuple[Tensor, Tensor]]]:
    """Return what `estimates` compares, untrained."""
    layers = (nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU())
    cnn = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *layers, nn.Flatten(), nn.Linear(256, 10))
    return [
        ("MLP 64-16-16-10", mlp(16), digits()),
        ("MLP 64-200-200-10", mlp(200), digits()),
        ("CNN", cnn, digits()),
        ("transformer block", Block(), digits(tokens)),
        ("GRU", Recurrent(), digits(lambda x: x.view(-1, 8, 8))),
    ]


def markov(n: int, length: int, symbols: int) -> tuple[Tensor, Tensor]:
    """Return sequences ``(n, length)`` of a random Markov chain, and what comes after each symbol."""
    stream = torch.Generator().manual_seed(0)
    chances = (2.0 * torch.randn(symbols, symbols, generator=stream)).softmax(1)
    seen = [torch.randint(symbols, (n,), generator=stream)]
    for _ in range(length):
        seen.append(torch.multinomial(chances[seen[-1]], 1, generator=stream)[:, 0])
    rows = torch.stack(seen, 1)
    return rows[:, :-1], rows[:, 1:]


def trained(
    name: str, model: nn.Module, data: tuple[Tensor, Tensor], steps: int, device: torch.device
) -> Trained:
    """Train by Adam on all data, with a step size that falls to 0 and as it will be estimated: no dropout."""
    model, (x, y) = private_copy(model).to(device), (part.to(device) for part in data)
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    criterion, loss = nn.CrossEntropyLoss(), torch.tensor(math.nan)
    begun = time.monotonic()
    for _ in range(steps):
        optimiser.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimiser.step()
        schedule.step()
    print(f"trained {name}: loss {loss.item():.4g} in {time.monotonic() - begun:.1f} s", flush=True)
    return Trained(name, model.cpu(), *data)


def estimated(found: Trained, device: str, seconds: float, gamma: float, seed: int = 0) -> Estimate:
    """Estimate an LLC with what is the default otherwise; on a CPU by one core."""
    torch.set_num_threads(1)
    return estimate_llc(
        found.model,
        nn.CrossEntropyLoss(),
        (found.x, found.y),
        precision="float32",
        gamma=gamma,
        relative_error=_WANTED,
        budget_sec=seconds,
        seed=seed,
        device=device,
    )


def to_wanted(found: Estimate) -> float:
    """Return seconds to a standard error of 1 %: those before drawing, and as much drawing as it takes."""
    drawing = found.metrics["diagnostics"].get("drawing_sec", math.nan)
    if not found.llc > 0.0:
        return math.nan
    return found.seconds - drawing + drawing * (found.se / (_WANTED * found.llc)) ** 2


def row(name: str, found: Estimate) -> str:
    """Return a line of the table."""
    seen: dict[str, Any] = found.metrics["diagnostics"]
    drawing = seen.get("drawing_sec", math.nan)
    times = f"{found.seconds - drawing:.1f}, {drawing:.1f}, {to_wanted(found):.1f}"
    drawn = f"{seen['n_chains']}, {found.chains} | {seen['n_draws']}"
    error = f"{found.llc:.4g} ± {found.se:.2g}, bias {found.bias:.2g}"
    device, status = found.metrics["device"], found.status
    return (
        f"| {name} | {found.parameters:,} | {device} | {error} | {status} | {drawn} | {seen['ess']:.0f} "
        f"| {times} |"
    )


def told(found: Estimate) -> None:
    """Print what an estimate says beside its number."""
    phases = ", ".join(f"{name} {sec:.1f} s" for name, sec in found.metrics["phases_sec"].items())
    shown = ("rhat", "ess", "virial_ratio", "acceptance", "n_steps", "step_size", "minibatches", "friction")
    seen = {name: found.metrics["diagnostics"].get(name) for name in shown}
    print(f"  reason: {found.reason}\n  phases: {phases}\n  L0 {found.metrics['L0']:.5g}, {seen}")
    for note in found.notes:
        print(f"  note: {note}")
    if torch.cuda.is_available():
        print(f"  GPU memory at most: {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB", flush=True)


def compare(device: torch.device, seconds: float, gamma: float, steps: int) -> None:
    """Print a table of every network on both devices."""
    torch.manual_seed(0)
    problems = [trained(*network, steps, device) for network in networks()]
    print("\n".join([_HEAD, "|" + "---|" * (_HEAD.count("|") - 1)]), flush=True)
    context, pairs = multiprocessing.get_context("spawn"), []
    with ProcessPoolExecutor(len(problems), mp_context=context) as pool:
        others = [pool.submit(estimated, each, "cpu", _CPU_SHARE * seconds, gamma) for each in problems]
        for each in problems:
            here = estimated(each, str(device), seconds, gamma)
            print(row(each.name, here), flush=True)
            pairs.append(here)
        for index, (each, other) in enumerate(zip(problems, others, strict=True)):
            pairs[index] = (pairs[index], other.result())
            print(row(each.name, pairs[index][1]), flush=True)
    print("\n| network | difference, standard errors | CPU seconds to 1 % over those here |\n|---|---|---|")
    for each, (here, there) in zip(problems, pairs, strict=True):
        off = (here.llc - there.llc) / math.hypot(here.se, there.se)
        print(f"| {each.name} | {off:+.1f} | {to_wanted(there) / to_wanted(here):.1f} |")


def main() -> None:
    """Print tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["estimates", "digits", "transformer"])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--seconds", type=float, default=15.0)
    parser.add_argument("--gamma", type=float, nargs="+", default=[100.0])
    parser.add_argument("--steps", type=int, default=1000, help="of training")
    parser.add_argument("--width", type=int, default=144, help="of the transformer")
    options = parser.parse_args()
    device = torch.device(options.device)
    if options.what == "estimates":
        compare(device, options.seconds, options.gamma[0], options.steps)
        return
    torch.manual_seed(0)
    if options.what == "digits":
        sizes = (nn.Linear(64, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, 22), nn.ReLU())
        network = ("MLP 64-200-200-22-10", nn.Sequential(*sizes, nn.Linear(22, 10)), digits())
    else:
        network = ("transformer", Language(options.width), markov(922, 64, 126))
    problem = trained(*network, options.steps, device)
    print("\n".join([_HEAD, "|" + "---|" * (_HEAD.count("|") - 1)]), flush=True)
    for gamma in options.gamma:
        found = estimated(problem, options.device, options.seconds, gamma)
        print(row(f"{problem.name}, gamma {gamma:g}", found), flush=True)
        told(found)


if __name__ == "__main__":
    main()
