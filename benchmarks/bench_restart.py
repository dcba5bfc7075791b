"""Starting again on many finished trials, against just reading their JSON files; memory and ``status``."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.bench_engine import plan, quiet
from workflow.execution.inline import InlineExecutor
from workflow.store.store import ArtifactStore
from workflow.study.driver import Driver


def main() -> None:
    """Print the figures."""
    os.chdir(Path(__file__).resolve().parents[1])
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        store = ArtifactStore(Path(folder))
        Driver(plan(trials), store, InlineExecutor(), quiet).run()
        reading, starting = [], []
        for _ in range(3):
            begun = time.perf_counter()
            for path in Path(folder).glob("runs/*/*/*/*.json"):
                json.loads(path.read_bytes())
            reading.append(time.perf_counter() - begun)
            begun = time.perf_counter()
            result = Driver(plan(trials), store, InlineExecutor(), quiet).run()
            starting.append(time.perf_counter() - begun)
            assert result.n_started == 0
        status = [Path(sys.executable).with_name("parsl-optuna"), "status", "--artifacts-dir", folder]
        begun = time.perf_counter()
        subprocess.run(status, check=True, capture_output=True)
        print(f"status on {trials} trials: {time.perf_counter() - begun:.2f} s")
    mine, bare = min(starting), min(reading)
    print(f"starting again on {trials} trials: {mine:.2f} s, reading their files: {bare:.2f} s")
    print(f"ratio {mine / bare:.2f}")
    print(f"peak memory of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
