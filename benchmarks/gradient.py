"""What a gradient of all chains costs, over as many plain PyTorch backward passes.

Run: python -m benchmarks.gradient [--chains 8] [--examples 200 1000] [--device cpu] [--large]. A ratio of 1
is what a loop over chains that does nothing else would take. On a CPU this is time of one core, so that other
work on the machine matters less; both are timed in turn, and the shortest of several times is taken. With
several devices, such as `--device cpu,cpu`, chains are spread over them, plain passes take the first one, and
all is wall time: half would be the best of two. Threads on the CPU get a core each, as they have on a machine
with nothing else to do.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from parsl_optuna.kernels.device import devices_named, full_precision
from parsl_optuna.tasks.llc.problem.examples import read
from parsl_optuna.tasks.llc.problem.module import ModuleLoss
from parsl_optuna.tasks.llc.problem.pose import pose
from parsl_optuna.tasks.llc.problem.posed import private_copy
from parsl_optuna.tasks.llc.problem.selection import select
from parsl_optuna.tasks.llc.problem.spread import SpreadLoss
from torch import Tensor, nn

_REPEATS = 7


class Recurrent(nn.Module):
    """A GRU of 10 steps."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.out = nn.GRU(8, 32, batch_first=True), nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layer(x)[0][:, -1])


class Block(nn.Module):
    """A transformer block over 16 tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.out = nn.Embedding(50, 32), nn.Linear(32, 10)
        self.block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.block(self.embedding(x)).mean(1))


class Language(nn.Module):
    """A causal transformer, by default of 1,048,734 parameters, which predicts the next of 126 symbols."""

    def __init__(self, width: int = 144, layers: int = 4, length: int = 64, symbols: int = 126) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, width)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        one = nn.TransformerEncoderLayer(width, 4, 4 * width, dropout=0.0, batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(one, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.out = nn.Linear(width, symbols)
        self.register_buffer("future", torch.ones(length, length).triu(1).bool())

    def forward(self, x: Tensor) -> Tensor:
        return self.out(self.layers(self.embedding(x) + self.places, mask=self.future)).transpose(1, 2)


def mlp(width: int) -> nn.Module:
    """Return a network of two hidden layers."""
    return nn.Sequential(
        nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 10)
    )


def architectures(n: int) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Yield names, modules and inputs."""
    yield "MLP 64-16-16-10", mlp(16), torch.randn(n, 64)
    yield "MLP 64-200-200-10", mlp(200), torch.randn(n, 64)
    convolutions = (nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Conv2d(8, 16, 3), nn.ReLU())
    yield "CNN", nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(256, 10)), torch.randn(n, 1, 8, 8)
    yield "transformer block", Block(), torch.randint(50, (n, 16))
    yield "GRU", Recurrent(), torch.randn(n, 10, 8)


def seconds(*calls: Callable[[], object], on_device: bool, several: bool) -> list[float]:
    """Return the shortest of several times of each call, which a GPU has done when the clock is read."""
    clock = time.perf_counter if on_device or several else time.process_time
    times = [math.inf] * len(calls)
    for repeat in range(_REPEATS + 1):
        for index, call in enumerate(calls):
            if on_device:
                torch.cuda.synchronize()
            begun = clock()
            call()
            if on_device:
                torch.cuda.synchronize()
            if repeat:  # the first is to warm up
                times[index] = min(times[index], clock() - begun)
    return times


def compared(name: str, model: nn.Module, x: Tensor, chains: int, devices: list[torch.device]) -> list[str]:
    """Return the cells of a row."""
    device, *others = devices
    size = (len(x), x.shape[1]) if isinstance(model, Language) else (len(x),)
    y, criterion = torch.randint(10, size), nn.CrossEntropyLoss()
    plain_model, inputs, targets = private_copy(model).to(device), x.to(device), y.to(device)

    def plain() -> None:
        for _ in range(chains):
            plain_model.zero_grad()
            criterion(plain_model(inputs), targets).backward()

    calls: list[Callable[[], object]] = [plain]
    ways, dim = [], 0
    for together in (True, False, None):
        places: dict[str, Any] = {"device": device, "others": others}
        found = pose(
            model, criterion, read((x, y)), select(model), torch.float32, **places, together=together
        )
        assert isinstance(found.loss, (SpreadLoss, ModuleLoss))
        if isinstance(found.loss, SpreadLoss) and device.type == "cpu":
            _pin(found.loss)
        w, dim = found.weights.expand(chains, -1).contiguous(), found.loss.dim
        calls.append(partial(found.loss.value_and_grad, w))
        ways.append(found.loss.together)
    with full_precision():  # as estimates have it: else plain convolutions would round to TF32
        base, *times = seconds(*calls, on_device=device.type == "cuda", several=bool(others))
    ratios = [f"{took / base:.2f}" for took in times]
    together = ratios[0] if ways[0] else "-"
    chosen = "together" if ways[2] else "one by one"
    return [
        name,
        f"{dim:,}",
        f"{len(x):,}",
        str(chains),
        f"{1e3 * base / chains:.2f}",
        together,
        ratios[1],
        f"{chosen}: {ratios[2]}",
    ]


def _pin(loss: SpreadLoss) -> None:
    """Keep every thread of a loss on a core of its own, as far as there are so many."""
    cores = sorted(os.sched_getaffinity(0))
    for at, thread in enumerate(loss._threads):
        thread.submit(os.sched_setaffinity, 0, {cores[at % len(cores)]}).result()


def main() -> None:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--chains", type=int, nargs="+", default=[8])
    parser.add_argument("--examples", type=int, nargs="+", default=[200, 1000])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--large", action="store_true", help="a transformer of a million parameters alone")
    options = parser.parse_args()
    print("| network | parameters | examples | chains | plain pass, ms | together | one by one | chosen |")
    print("|---|---|---|---|---|---|---|---|")
    for n in options.examples:
        large = [("transformer", Language(), torch.randint(126, (n, 64)))]
        for name, model, x in large if options.large else architectures(n):
            for chains in options.chains:
                cells = compared(name, model, x, chains, devices_named(options.device))
                print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
