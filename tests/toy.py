"""A real task that takes no time: estimate a number by guessing near it. Used by the engine's tests."""

from __future__ import annotations

import asyncio
import ctypes
import errno
import json
import math
import os
import random
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from parsl_optuna.core.load import structure, unstructure
from parsl_optuna.core.records import Comparison
from parsl_optuna.core.space import Categorical, Float, Int, Space
from parsl_optuna.tasks.base import Reference, Task, Work


@dataclass(frozen=True)
class Toy:
    truth: float
    trouble: str = "none"
    sleep_sec: float = 0.0
    log: str | None = None
    best_x: float = 0.0


@dataclass(frozen=True)
class Guess:
    x: float = 0.0
    k: int = 1
    kind: str = "plain"


@dataclass(frozen=True)
class Exact:
    digits: int = 3


@dataclass(frozen=True)
class Walk:
    x: float = 0.0
    steps: int = 5


METHODS = {"guess": Guess, "other": Guess, "exact": Exact, "walk": Walk}


def resolve(raw, where):
    return unstructure(structure(Toy, raw, where))


def complete(problem, method, params, where):
    return unstructure(structure(METHODS[method], params, where))


def space(problem, method):
    if method == "exact":
        return Space({"digits": Int(1, 3)})
    if method == "walk":
        return Space({"x": Float(-2.0, 2.0)})
    if method == "other":
        return Space({"k": Int(1, 3), "kind": Categorical(("plain", "fancy"))})
    return Space({"x": Float(-2.0, 2.0), "k": Int(1, 8), "kind": Categorical(("plain", "fancy"))})


def prepare(problem, folder: Path) -> None:
    if problem["trouble"] == "prepare":
        raise RuntimeError("cannot be prepared")
    (folder / "truth.txt").write_text(repr(problem["truth"]), encoding="utf-8")
    note(problem, "prepare")


def note(problem, text):
    if problem["log"]:
        with Path(problem["log"]).open("a", encoding="utf-8") as stream:
            stream.write(f"{text}\n")


def count(work: Work):
    """Do forty steps, which a later attempt goes on from."""
    for step in range(int(work.checkpoint.load() or 0), 40):
        note(work.problem, f"step {step}")
        time.sleep(work.problem["sleep_sec"] or 0.05)
        if work.checkpoint.due():
            work.checkpoint.save(str(step + 1).encode())


def walk(work: Work):
    """Add up random numbers of this run, a step each; a longer run goes on from the end of a shorter one."""
    step, total = json.loads(work.checkpoint.load() or b"[0, 0.0]")
    for one in range(step, work.params["steps"]):
        note(work.problem, f"walk {one}")
        total += random.Random(work.seed + one).random()
        work.report(one, {"value": total})
    work.checkpoint.keep(lambda: json.dumps([work.params["steps"], total]).encode())
    return {"value": work.problem["truth"] + work.params["x"] ** 2 + total, "se": 0.1}


def curve(work: Work):
    """Report forty values, which approach the final one."""
    value = work.problem["truth"] + work.params["x"] ** 2
    for step in range(40):
        work.report(step, {"value": value + 1 / (1 + step)})
        time.sleep(work.problem["sleep_sec"])


def hang():
    while True:
        time.sleep(0.1)


def eat():
    kept = []
    while True:
        kept.append(bytearray(1 << 26))


def flood():
    line = "x" * (1 << 20)
    for _ in range(64):
        sys.stdout.write(line)
    sys.stdout.write("the end\n")
    sys.stdout.flush()


def orphan():
    subprocess.Popen(["sleep", "30"])
    os._exit(3)


def full():
    raise OSError(errno.ENOSPC, "No space left on device")


TROUBLES = {
    "full": full,
    "orphan": orphan,
    "hang": hang,
    "eat": eat,
    "flood": flood,
    "segfault": lambda: ctypes.string_at(0),
    "exit": lambda: os._exit(3),
    "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def run(work: Work):
    problem, params = work.problem, work.params
    truth = float((work.prepared / "truth.txt").read_text(encoding="utf-8"))
    note(problem, f"{work.method} {sorted(params.items())}")
    trouble = problem["trouble"]
    if work.method == "exact":
        if trouble == "reference":
            raise RuntimeError("no truth today")
        status = "not_converged" if trouble == "distrust" else "ok"
        return {
            "value": truth,
            "se": 0.01,
            "status": status,
            "status_reason": "R-hat 9" if status != "ok" else None,
        }
    if work.method == "walk":
        return walk(work)
    if trouble == "steps":
        count(work)
    elif trouble == "curve":
        curve(work)
    else:
        time.sleep(problem["sleep_sec"])
    if trouble == "all" or (trouble == "some" and params.get("x", 0) > 0):
        raise ValueError("x is too large\nsecond line")
    if trouble == "nan":
        return {"value": math.nan, "se": 0.1}
    if trouble == "memory":
        raise MemoryError
    if trouble == "cancelled":
        raise asyncio.CancelledError("by its loop")  # no Exception
    if trouble in TROUBLES:
        TROUBLES[trouble]()
    if trouble == "kill" and params.get("x", 0) > 0:
        os.kill(os.getpid(), signal.SIGKILL)
    noise = (work.seed % 1000) / 1e5
    value = truth + (params["x"] - problem["best_x"]) ** 2 + params["k"] / 100 + noise
    return {"value": value, "se": 0.1, "cost": float(params["k"]), "diagnostics": {"depth": params["k"]}}


TASK = Task(
    name="tests.toy:TASK",
    version=1,
    resolve=resolve,
    methods=tuple(METHODS),
    complete=complete,
    space=space,
    run=run,
    prepare=prepare,
    reference=Reference("exact", Comparison("value", "se", "truth_ref", "truth_se")),
    metric="value",
    extends={"walk": "steps"},
    columns={"value": "float", "se": "float"},
)
