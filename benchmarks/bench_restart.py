"""Starting again on many finished trials, against just reading their JSON files; memory and ``status``."""

from __future__ import annotations

import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from parsl_optuna.execution.inline import InlineExecutor
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.study.driver import Driver

from benchmarks.bench_engine import plan, quiet


def read(folder: Path) -> None:
    """Read every file."""
    for path in folder.glob("runs/*/*/*/*.json"):
        json.loads(path.read_bytes())


def start(store: ArtifactStore, trials: int) -> None:
    """Start a run that has nothing to do."""
    assert Driver(plan(trials), store, InlineExecutor(), quiet).run().n_started == 0


def seconds(work: Callable[[], None]) -> float:
    """Time a call, without the garbage of what ran before it."""
    gc.collect()
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def main() -> None:
    """Print the figures."""
    os.chdir(Path(__file__).resolve().parents[1])
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(Path(folder))
        Driver(plan(trials), store, InlineExecutor(), quiet).run()
        reading, found = [], []
        for _ in range(3):
            reading.append(seconds(lambda: read(Path(folder))))
            found.append(seconds(lambda: start(ArtifactStore(Path(folder)), trials)))
        status = [Path(sys.executable).with_name("parsl-optuna"), "status", "--artifacts-dir", folder]
        begun = time.perf_counter()
        subprocess.run(status, check=True, capture_output=True)
        print(f"status on {trials} trials: {time.perf_counter() - begun:.2f} s")
    bare = min(reading)
    print(f"just reading their files: {bare:.2f} s")
    print(f"starting again on {trials} trials: {min(found):.2f} s, ratio {min(found) / bare:.2f}")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
