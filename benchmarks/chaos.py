"""Random faults in real studies: after each, the same command ends with the table of an undisturbed one.

    python -m benchmarks.chaos --rounds 300 --seed 1 --folder chaos

Every round is one line of ``rounds.jsonl`` in the folder; the same command goes on where it was stopped. A
round counts: lost (a point of the calm table is missing), wrong (its state or value differs), hung (a command
did not end in time), left (processes are there 20 s after the end), raised (it printed a traceback).
"""

from __future__ import annotations

import argparse
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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import yaml

ROOT = Path(__file__).resolve().parents[1]
MARK = "PARSL_OPTUNA_CHAOS"
POINTS = [{"x": round(-1.9 + 0.3 * i, 3), "k": 1 + i % 8, "kind": "plain"} for i in range(8)]
LIMIT_SEC = 180.0
LEFT_SEC = 20.0
COUNTS = ("lost", "wrong", "hung", "left", "raised")


class Study:
    """A study of eight given points in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        data = {
            "task": "tests.toy:TASK",
            "problems": [{"truth": 1.0, "sleep_sec": 0.4}],
            "methods": ["guess"],
            "enqueue": {"guess": POINTS},
            "optuna": {"max_trials": 8, "batch_size": 3, "confirm": 0, "method_budget_sec": 20},
            "limits": {"grace_sec": 2.0},
            "artifacts_dir": str(folder / "artifacts"),
            "results_dir": str(folder / "results"),
        }
        (folder / "c.yaml").write_text(yaml.safe_dump(data))

    def start(self, **environment: str) -> subprocess.Popen[str]:
        """Start the command; its output goes to a file."""
        with (self.folder / "output").open("a") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "parsl_optuna", "run", "--config", self.folder / "c.yaml", "--local"],
                cwd=ROOT,
                env=os.environ | {MARK: str(self.folder), "OMP_NUM_THREADS": "1"} | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                text=True,
            )

    def processes(self, word: str = "") -> list[psutil.Process]:
        """Return its living processes whose command line has *word* in it."""
        found = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                is_mine = one.environ().get(MARK) == str(self.folder) and one.status() != psutil.STATUS_ZOMBIE
                if is_mine and word in " ".join(one.cmdline()):
                    found.append(one)
        return found

    def table(self) -> dict[str, tuple[str, float]]:
        """Return state and value of every trial, by its hyperparameters; values are the same in every run."""
        rows = pd.read_parquet(self.folder / "results" / "optuna_trials.parquet")
        columns = (rows[name] for name in ("hyperparams_json", "state", "value"))
        return {point: (state, float(value)) for point, state, value in zip(*columns, strict=True)}


def wait_for(condition: Callable[[], Any], seconds: float) -> bool:
    """Wait until a condition holds; return whether it did."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if condition():
            return True
        time.sleep(0.1)
    return False


def interchange(study: Study, driver: subprocess.Popen[str]) -> list[psutil.Process]:
    """Return the interchange; it renames itself, which wipes its environment."""
    del study
    with contextlib.suppress(psutil.Error):
        children = psutil.Process(driver.pid).children()
        return [one for one in children if "interchange" in " ".join(one.cmdline())]
    return []


def workers(study: Study, *, busy: bool) -> list[psutil.Process]:
    """Return Parsl's workers that have, or have not, a child at work."""
    found = []
    for pool in study.processes("execution.watched_pool"):
        with contextlib.suppress(psutil.Error):
            found += [one for one in pool.children() if "spawn_main" in " ".join(one.cmdline())]
    return [one for one in found if one.is_running() and bool(one.children()) == busy]


def send(number: int, victims: list[psutil.Process], draw: random.Random) -> None:
    """Send a signal to one of the processes, where there is any."""
    if victims:
        with contextlib.suppress(psutil.Error):
            draw.choice(victims).send_signal(number)


def stop_a_while(victims: list[psutil.Process], seconds: float) -> None:
    """Stop processes, and let them go on."""
    for number in (signal.SIGSTOP, signal.SIGCONT):
        for one in victims:
            with contextlib.suppress(psutil.Error):
                one.send_signal(number)
        if number == signal.SIGSTOP:
            time.sleep(seconds)


def strike(kind: str, study: Study, driver: subprocess.Popen[str], draw: random.Random) -> None:
    """Do what a kind of fault is."""
    kill = signal.SIGKILL
    if kind == "driver":
        driver.kill()
    elif kind == "group":
        os.killpg(driver.pid, kill)
    elif kind == "everything":
        for one in study.processes():
            send(kill, [one], draw)
    elif kind == "interchange":
        send(kill, interchange(study, driver), draw)
    elif kind == "pool":
        send(kill, study.processes("execution.watched_pool"), draw)
    elif kind in ("worker busy", "worker idle"):
        send(kill, workers(study, busy=kind == "worker busy"), draw)
    elif kind == "child starting":
        wait_for(lambda: study.processes("parsl_optuna.worker.child"), 30)
        send(kill, study.processes("parsl_optuna.worker.child"), draw)
    elif kind == "child running":
        wait_for(lambda: list(study.folder.glob("artifacts/runs/*/guess/*/metrics.json")), 60)
        send(kill, study.processes("parsl_optuna.worker.child"), draw)
    elif kind == "SIGTERM twice":
        for _ in range(2):
            driver.send_signal(signal.SIGTERM)
            time.sleep(0.1)
    elif kind == "Ctrl-C twice":
        for _ in range(2):
            os.killpg(driver.pid, signal.SIGINT)
            time.sleep(draw.uniform(0.1, 2.0))
    elif kind == "driver stopped":
        stop_a_while([psutil.Process(driver.pid)], draw.uniform(2, 20))
    elif kind == "pool stopped":
        stop_a_while(study.processes("execution.watched_pool"), draw.uniform(2, 20))


KILLS = (
    "driver", "group", "everything", "interchange", "pool", "worker busy", "worker idle", "child starting",
    "child running", "SIGTERM twice", "Ctrl-C twice", "driver stopped", "pool stopped",
)  # fmt: skip
SHIMS = {
    "EIO": "fsync=EIO:0.03,rename=EIO:0.03,link=EIO:0.03",
    "disk full": "open=ENOSPC:0.03,fsync=ENOSPC:0.03",
    "no hard links": "link=EPERM:1",
}
"""Faults of file calls in the artifacts; without hard links the same command has to do without them, too."""


@contextlib.contextmanager
def guarded(study: Study) -> Iterator[None]:
    """End everything that a round leaves."""
    try:
        yield
    finally:
        for one in study.processes():
            with contextlib.suppress(psutil.Error):
                one.kill()


def one_round(
    kind: str, folder: Path, calm: dict[str, Any], shim: Path, draw: random.Random
) -> dict[str, Any]:
    """Run a study under a fault, then the same command undisturbed; return what was counted."""
    study = Study(folder)
    counts: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    faults = {
        "LD_PRELOAD": str(shim),
        "FAULT_BELOW": str(folder / "artifacts"),
        "FAULT_CALLS": SHIMS.get(kind, ""),
    }
    faults = faults if kind in SHIMS else {}
    with guarded(study):
        begun = time.monotonic()
        driver = study.start(**faults)
        if kind in KILLS:
            time.sleep(draw.uniform(0.3, 12.0))
            if driver.poll() is None:
                with contextlib.suppress(ProcessLookupError, psutil.Error):
                    strike(kind, study, driver, draw)
        counts["hung"] += not ended(driver)
        counts["first_sec"] = round(time.monotonic() - begun, 1)
        again = study.start(**(faults if kind == "no hard links" else {}))
        counts["hung"] += not ended(again)
        counts["code"] = again.returncode
        found = study.table() if again.returncode == 0 else {}
        counts["lost"] = len(calm.keys() - found.keys())
        counts["wrong"] = sum(found[point] != calm[point] for point in calm.keys() & found.keys())
        counts["raised"] = (folder / "output").read_text(errors="replace").count("Traceback")
        counts["left"] = 0 if wait_for(lambda: not study.processes(), LEFT_SEC) else len(study.processes())
    if not any(counts[name] for name in COUNTS):
        shutil.rmtree(folder)
    return counts


def ended(process: subprocess.Popen[str]) -> bool:
    """Wait for a command; kill it where it does not end."""
    try:
        process.wait(LIMIT_SEC)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return False
    return True


def built_shim(folder: Path) -> Path:
    """Compile the shim."""
    shim = folder / "fault_shim.so"
    source = Path(__file__).with_name("fault_shim.c")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", shim, source, "-ldl"], check=True)
    return shim


def table(lines: list[dict[str, Any]]) -> str:
    """Return the counts by kind of fault as a Markdown table."""
    totals: dict[str, Counter[str]] = defaultdict(Counter)
    for line in lines:
        for kind in (line["kind"], "all"):
            totals[kind]["rounds"] += 1
            totals[kind].update({name: line[name] for name in COUNTS})
    rows = [f"| fault | rounds | {' | '.join(COUNTS)} |", "|---" * (len(COUNTS) + 2) + "|"]
    for kind in (*KILLS, *SHIMS, "all"):
        if kind in totals:
            counts = " | ".join(str(totals[kind][name]) for name in COUNTS)
            rows.append(f"| {kind} | {totals[kind]['rounds']} | {counts} |")
    return "\n".join(rows)


def main() -> int:
    """Run rounds; return 1 where any count is not zero."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=Path("chaos"))
    parser.add_argument("--only", help="One kind of fault.")
    asked = parser.parse_args()
    folder = asked.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    log, shim = folder / "rounds.jsonl", built_shim(folder)
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    calm = Study(folder / f"calm-{time.time_ns()}")
    with guarded(calm):
        if not ended(calm.start()):
            raise SystemExit("the undisturbed command does not end")
        wanted = calm.table()
    kinds = [asked.only] if asked.only else [*KILLS, *SHIMS]
    for number in range(len(lines), asked.rounds):
        draw = random.Random(f"{asked.seed}-{number}")
        kind = kinds[number % len(kinds)]
        counts = one_round(kind, folder / f"round-{number}", wanted, shim, draw)
        lines.append({"round": number, "kind": kind, **counts})
        with log.open("a") as stream:
            stream.write(json.dumps(lines[-1]) + "\n")
        print(lines[-1], flush=True)
    print(table(lines))
    return int(any(line[name] for line in lines for name in COUNTS))


if __name__ == "__main__":
    sys.exit(main())
