"""Random faults in real studies: after each, the same command ends with the table of an undisturbed one.

    python -m benchmarks.chaos --rounds 300 --seed 1 --folder chaos

Every round is one line of ``rounds.jsonl`` in the folder, with the victim of its strike; the same command
goes on where it was stopped, and a round whose line is deleted runs again. The code of all rounds is a copy,
made once in ``code`` of the folder. A round counts: lost (a point of the calm table is missing), failed (one
has another state), mixed (another value), hung (a command did not end in time), left (processes that are
there 20 s after the end), raised (it printed a traceback). A round without a victim is no hit.
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import yaml

from benchmarks.command import Command, load
from benchmarks.strikes import KILLS, MARK, Target, processes, strike

ROOT = Path(__file__).resolve().parents[1]
POINTS = [{"x": round(-1.9 + 0.3 * i, 3), "k": 1 + i % 8, "kind": "plain"} for i in range(12)]
SLEEP_SEC = 0.35
LIMIT_SEC = 150.0
LEFT_SEC = 20.0
SPREAD_SEC = 2.5
"""An undisturbed study takes so long from its first trial to its end."""

COUNTS = ("lost", "failed", "mixed", "hung", "left", "raised")
SHIMS = {
    "EIO": "fsync=EIO:0.02,rename=EIO:0.02,link=EIO:0.02",
    "disk full": "open=ENOSPC:0.03,write=ENOSPC:0.03,fsync=ENOSPC:0.03",
    "no hard links": "link=EPERM:1",
}
"""Faults of file calls in the artifacts; without hard links the same command has to do without them, too."""

Table = dict[str, tuple[str, float]]


class Study:
    """A study of given points in a folder of its own."""

    def __init__(self, folder: Path, code: Path, workers: int = 2) -> None:
        self.folder, self._code = folder, code
        folder.mkdir(parents=True)
        data = {
            "task": "tests.toy:TASK",
            "problems": [{"truth": 1.0, "sleep_sec": SLEEP_SEC}],
            "methods": ["guess"],
            "enqueue": {"guess": POINTS},
            "optuna": {"max_trials": len(POINTS), "batch_size": 2, "confirm": 0, "method_budget_sec": 20},
            "limits": {"grace_sec": 2.0},
            "artifacts_dir": str(folder / "artifacts"),  # as the shim compares paths
            "cluster": {"workers": workers},
        }
        (folder / "c.yaml").write_text(yaml.safe_dump(data))

    def start(self, **environment: str) -> Command:
        """Start the command; its output goes to a file."""
        paths = os.pathsep.join([str(self._code / name) for name in ("workflow", "", "without")])
        mine = {MARK: str(self.folder), "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
        line = ["run", "--config", "c.yaml", "--local"]
        return Command(line, self.folder, self.folder / "output", mine | environment)

    def table(self) -> Table:
        """Return state and value of every trial, by its hyperparameters; values are the same in every run."""
        rows = pd.read_parquet(self.folder / "results" / "optuna_trials.parquet")
        columns = (rows[name] for name in ("hyperparams_json", "state", "value"))
        return {point: (state, float(value)) for point, state, value in zip(*columns, strict=True)}

    def has_begun(self) -> bool:
        """Whether a trial has its working folder."""
        return any(self.folder.glob("artifacts/runs/*/guess/*/files"))


def wait_for(condition: Callable[[], Any], seconds: float) -> bool:
    """Wait until a condition holds; return whether it did."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.2)
    return False


@contextlib.contextmanager
def guarded(study: Study) -> Iterator[None]:
    """End everything that a round leaves."""
    try:
        yield
    finally:
        for one in processes(study.folder):
            with contextlib.suppress(psutil.Error):
                one.kill()


def one_round(
    kind: str, folder: Path, code: Path, calm: Table, shim: Path, draw: random.Random
) -> dict[str, Any]:
    """Run a study under a fault, then the same command undisturbed; return what was counted."""
    study = Study(folder, code, workers=3 if kind == "worker, idle" else 2)  # trials in flight are two
    victim, injected = {}, folder / "injected"
    counts: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    faults = {
        "LD_PRELOAD": str(shim),
        "FAULT_BELOW": str(folder / "artifacts"),
        "FAULT_CALLS": SHIMS.get(kind, ""),
        "FAULT_LOG": str(injected),
    }
    faults = faults if kind in SHIMS else {}
    with guarded(study):
        begun = time.monotonic()
        driver = study.start(**faults)
        if kind in KILLS and wait_for(lambda: study.has_begun() or driver.poll() is not None, 60):
            time.sleep(draw.uniform(0.0, SPREAD_SEC))
            victim = strike(kind, Target(folder, driver), draw)
        counts["hung"] += not ended(driver)
        counts |= {"first_sec": round(time.monotonic() - begun, 1), "first_code": driver.returncode}
        again = study.start(**(faults if kind == "no hard links" else {}))
        counts["hung"] += not ended(again)
        counts["code"] = again.returncode
        found = study.table() if again.returncode == 0 else {}
        shared = calm.keys() & found.keys()
        counts["lost"] = len(calm.keys() - found.keys())
        counts["failed"] = sum(found[point][0] != calm[point][0] for point in shared)
        counts["mixed"] = sum(found[point] != calm[point] for point in shared) - counts["failed"]
        counts["raised"] = (folder / "output").read_text(errors="replace").count("Traceback")
        if not wait_for(lambda: not processes(folder), LEFT_SEC):
            counts["left"] = len(processes(folder))
    if kind in SHIMS and injected.exists():
        lines = injected.read_text(errors="replace").splitlines()
        victim = {"what": "file calls", "pid": driver.pid, "state": f"{len(lines)} failed"}
    if not any(counts[name] for name in COUNTS):
        shutil.rmtree(folder)
    return {"victim": victim, **counts}


def ended(process: Command) -> bool:
    """Wait for a command; kill it where it does not end."""
    if process.wait(LIMIT_SEC):
        return True
    os.killpg(process.pid, signal.SIGKILL)
    process.wait(LIMIT_SEC)
    return False


def frozen(folder: Path) -> tuple[Path, str]:
    """Copy the code that rounds run, unless it is there; return where, and its commit."""
    code, about = folder / "code", folder / "code" / "commit"
    if not about.exists():
        shutil.rmtree(code, ignore_errors=True)
        skipped = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / "workflow", code / "workflow", ignore=skipped)
        (code / "tests").mkdir()
        for name in ("__init__.py", "toy.py"):
            shutil.copy(ROOT / "tests" / name, code / "tests" / name)
        described = ["git", "describe", "--always", "--dirty=+", "--exclude", "*"]
        said = subprocess.run(described, cwd=ROOT, capture_output=True, text=True, check=False)
        (code / "without").mkdir()  # Parsl's monitoring, not used here, would load it in every process
        (code / "without" / "sqlalchemy.py").write_text('raise ImportError("left out to start faster")\n')
        compileall.compile_dir(code, quiet=1)
        about.write_text(said.stdout.strip() or "unknown")
    return code, about.read_text()


def built_shim(folder: Path) -> Path:
    """Compile the shim."""
    shim = folder / "fault_shim.so"
    source = Path(__file__).with_name("fault_shim.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
    return shim


def calm_table(folder: Path, code: Path) -> Table:
    """Return the table of an undisturbed study of the same code."""
    kept = code / "calm.json"
    if not kept.exists():
        calm = Study(folder / f"calm-{time.time_ns()}", code)
        with guarded(calm):
            process = calm.start()
            if not ended(process) or process.returncode:
                raise SystemExit(f"the undisturbed command fails: {calm.folder}/output")
            kept.write_text(json.dumps(calm.table()))
        shutil.rmtree(calm.folder)
    return {point: (state, value) for point, (state, value) in json.loads(kept.read_text()).items()}


def report(lines: list[dict[str, Any]], seed: int) -> str:
    """Return the counts by kind of fault as a Markdown table."""
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        for kind in (line["kind"], "all"):
            totals[kind]["rounds"] += 1
            totals[kind]["hit"] += bool(line["victim"])
            totals[kind].update({name: line[name] for name in COUNTS})
    columns = ("rounds", "hit", *COUNTS)
    rows = [f"| fault | {' | '.join(columns)} |", "|---" * (len(columns) + 1) + "|"]
    for kind in (*KILLS, *SHIMS, "all"):
        if kind in totals:
            rows.append(f"| {kind} | {' | '.join(str(totals[kind][name]) for name in columns)} |")
    commits = ", ".join(dict.fromkeys(line["commit"] for line in lines))
    return "\n".join([*rows, "", f"{len(lines)} rounds, seed {seed}, of {commits}"])


def is_bad(line: Mapping[str, Any]) -> bool:
    """Whether a round shows a fault of the engine's."""
    return any(line[name] for name in COUNTS)


def main() -> int:
    """Run rounds; return 1 where any count is not zero."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("chaos"))
    parser.add_argument("--only", action="append", choices=[*KILLS, *SHIMS], help="A kind of fault.")
    parser.add_argument("--table", action="store_true", help="Only show what there is.")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "rounds.jsonl"
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.default_int_handler)  # ends the round; shells may have it ignore SIGINT
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    if not asked.table:
        shim, (code, commit) = built_shim(folder), frozen(folder)
        load(code)
        calm = calm_table(folder, code)
        kinds = asked.only or [*KILLS, *SHIMS]
        for number in sorted(set(range(asked.rounds)) - {line["round"] for line in lines}):
            draw, kind = random.Random(f"{asked.seed}-{number}"), kinds[number % len(kinds)]
            shutil.rmtree(folder / f"round-{number}", ignore_errors=True)
            counts = one_round(kind, folder / f"round-{number}", code, calm, shim, draw)
            lines.append({"round": number, "kind": kind, "commit": commit, **counts})
            with log.open("a") as stream:
                stream.write(json.dumps(lines[-1]) + "\n")
            print(json.dumps(lines[-1]), flush=True)
    print(report(lines, asked.seed))
    return int(any(map(is_bad, lines)))


if __name__ == "__main__":
    sys.exit(main())
