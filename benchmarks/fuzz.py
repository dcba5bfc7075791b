"""What becomes of a changed file: every byte of every file that the engine reads, changed once; cut files.

    .venv/bin/python -m benchmarks.fuzz            # everything, minutes
    .venv/bin/python -m benchmarks.fuzz --every 50  # every 50th byte

A change ends as ``refused`` (one line that names the file), ``left out`` (a report or checkpoint that is not
used), ``same`` (all values as before), ``differs`` (a value is used that nobody wrote) or ``raw`` (an
exception that is no message). The last two must not happen; to files of schema 1, which carry no digest,
``differs`` can.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from parsl_optuna.core.ended import score
from parsl_optuna.core.errors import WorkflowError
from parsl_optuna.core.objective import Scoring
from parsl_optuna.core.records import Trial
from parsl_optuna.report import tables
from parsl_optuna.store import checks, document
from parsl_optuna.store.artifacts import ArtifactStore
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.store.lease import Lease
from parsl_optuna.store.progress import Reporter, ask_to_stop, reports, stop_reason
from parsl_optuna.tasks.base import resolve_task

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden" / "form1"
CUTS = 20
"""Lengths to which every file is cut."""
DOCUMENTS = ("problem.json", "ref.json", "prepared.json")
DIGITS, LETTERS = b"0123456789", b"abcdefghijklmnopqrstuvwxyz"
Values = dict[str, Any]


def of_schema_1(folder: Path) -> Path:
    """Return a copy of the frozen tree."""
    return shutil.copytree(GOLDEN / "artifacts", folder / "artifacts")


def of_this_schema(folder: Path) -> Path:
    """Return the frozen tree as this version writes it, with one trial that is to stop."""
    root = of_schema_1(folder)
    store = ArtifactStore(root)
    for pid, method, trial_id in trials(store):
        manifest, asked = store.manifest(pid, method, trial_id)
        outcome = store.outcome(manifest)
        data = {"trial_id": trial_id, **manifest.to_json(), "asked": asked.to_json()}
        document.write(store.paths.manifest(pid, method, trial_id), data)
        if outcome is not None:
            document.write(store.paths.metrics(pid, method, trial_id), checks.with_copies(outcome))
        progress = store.paths.progress(pid, method, trial_id)
        kept = reports(progress)
        reporter = Reporter(progress)
        for step, metrics in kept:
            reporter.report(step, metrics)
        ask_to_stop(store.paths.stop(pid, method, trial_id), "the pruner gave it up")
    for path in root.glob("problems/**/*.json"):
        if path.name in DOCUMENTS:
            document.write(path, document.read(path) or {})
    return root


def trials(store: ArtifactStore) -> Iterator[tuple[str, str, str]]:
    """Yield problem, method and id of every trial."""
    for folder in sorted(store.paths.runs.glob("*/*/*")):
        yield folder.parts[-3], folder.parts[-2], folder.parts[-1]


def problem_of(root: Path, pid: str) -> Values:
    """Return everything that is read of a problem."""
    store = ArtifactStore(root)
    problem = store.problem(pid)
    assert problem is not None
    names = resolve_task(problem["task"]).comparison
    reference = names and store.reference(pid, names.reference, names.reference_se)
    prepared = store.prepared(pid)
    files = {path.name: path.read_bytes() for path in prepared.iterdir()} if prepared else {}
    files.pop("prepared.json", None)
    return {"problem": problem, "reference": reference, "files": files}


def trial_of(root: Path, pid: str, method: str, trial_id: str) -> Values:
    """Return what is read of a trial's manifest and outcome, its row of the table included."""
    store = ArtifactStore(root)
    trial = Trial(*store.manifest(pid, method, trial_id))
    outcome = store.outcome(trial.manifest)
    if outcome is None:
        return {"trial": trial}
    task = resolve_task(trial.manifest.task)
    scoring = Scoring.from_json(trial.asked.objective or outcome.unknown.get("judged_by", {}))
    ended = score(trial, outcome, scoring, task.comparison, None, "label")
    return {"trial": trial, "outcome": outcome, "row": tables.table([ended], task).to_pylist()}


def saved_of(path: Path) -> Values:
    """Return what is read of a trial's checkpoint."""
    checkpoint = Checkpoint(path.parent)
    return {"saved": (checkpoint.used_sec, checkpoint.load())}


def reader(path: Path, root: Path, names: tuple[str, str, str]) -> Callable[[], Values]:
    """Return what reads a file of a trial."""
    if path.name.startswith("checkpoint-"):
        return lambda: saved_of(path)
    if path.name == "progress.jsonl":
        return lambda: {"reports": reports(path)}
    if path.name == "stop.json":
        return lambda: {"stop": stop_reason(path)}
    return lambda: trial_of(root, *names)


def verdict(before: Values, read: Callable[[], Values]) -> str:
    """Read after a change, and say what became of it."""
    try:
        after = read()
    except WorkflowError as error:
        return "refused" if len(str(error).splitlines()) == 1 else "raw"
    except Exception as error:  # what this is about
        print(f"raw: {type(error).__name__}: {error}")
        return "raw"
    if after == before:
        return "same"
    reported = before.get("reports", [])
    is_subset = "reports" in after and all(report in reported for report in after["reports"])
    return "left out" if is_subset or after.get("saved") == (0.0, None) else "differs"


def changed(content: bytes, position: int, dice: random.Random) -> bytes:
    """Return *content* with another byte at *position*: a digit for a digit, a letter for a letter."""
    old = content[position]
    choices = next((some for some in (DIGITS, LETTERS) if old in some), bytes(range(256)))
    new = dice.choice([byte for byte in choices if byte != old])
    return content[:position] + bytes([new]) + content[position + 1 :]


def damages(content: bytes, every: int, dice: random.Random) -> Iterator[bytes]:
    """Yield what can become of a file."""
    for position in range(dice.randrange(min(every, len(content))), len(content), every):
        yield changed(content, position, dice)
    for length in sorted(dice.sample(range(len(content)), min(CUTS, len(content)))):
        yield content[:length]


def fuzz_file(path: Path, read: Callable[[], Values], every: int, dice: random.Random) -> Counter[str]:
    """Damage one file in all ways, each time reading what depends on it."""
    content, before, found = path.read_bytes(), read(), Counter[str]()
    for damaged in damages(content, every, dice):
        path.write_bytes(damaged)
        found[verdict(before, read)] += 1
    path.write_bytes(content)
    return found


def fuzz_tree(root: Path, every: int, seed: int) -> dict[str, Counter[str]]:
    """Damage every file of a tree that the engine reads; return what became of it, by kind of file."""
    store, dice = ArtifactStore(root), random.Random(seed)
    found: dict[str, Counter[str]] = {}
    for pid in store.problem_ids():
        folder = store.paths.problem(pid).parent
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            kind = path.name if path.name in DOCUMENTS else "prepared files"
            counts = fuzz_file(path, lambda pid=pid: problem_of(root, pid), every, dice)
            found.setdefault(kind, Counter()).update(counts)
    for names in trials(store):
        folder = store.paths.manifest(*names).parent
        for path in sorted(one for one in folder.iterdir() if one.is_file()):
            kind = "checkpoint" if path.name.startswith("checkpoint-") else path.name
            counts = fuzz_file(path, reader(path, root, names), every, dice)
            found.setdefault(kind, Counter()).update(counts)
    return found


def fuzz_lease(folder: Path, every: int, seed: int) -> Counter[str]:
    """Damage the lease of a driver that is dead; the next one must get in."""
    path, found = folder / "driver.lock", Counter[str]()
    with Lease(path, period_sec=0.001):
        content = path.read_bytes().replace(b'"beat": ', b'"beat": 1')  # no longer this process's word
    for damaged in damages(content, every, random.Random(seed)):
        path.write_bytes(damaged)
        try:
            with Lease(path, period_sec=0.001):
                found["same"] += 1
        except WorkflowError:
            found["refused"] += 1
        except Exception as error:  # what this is about
            print(f"raw: {type(error).__name__}: {error}")
            found["raw"] += 1
        path.unlink(missing_ok=True)
    return found


def show(title: str, found: dict[str, Counter[str]]) -> None:
    """Print a table."""
    columns = ("refused", "left out", "same", "differs", "raw")
    print(f"\n{title}\n\n| file | changes | {' | '.join(columns)} |\n|---|---|{'---|' * len(columns)}")
    total: Counter[str] = sum(found.values(), Counter())
    for kind, counts in [*sorted(found.items()), ("all", total)]:
        print(f"| {kind} | {counts.total():,} | " + " | ".join(f"{counts[one]:,}" for one in columns) + " |")


def main() -> None:
    """Print what becomes of changed files of this schema and of the first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for title, make in (("This schema", of_this_schema), ("Schema 1, without digests", of_schema_1)):
        with tempfile.TemporaryDirectory() as folder:
            found = fuzz_tree(make(Path(folder)), args.every, args.seed)
            found["driver.lock"] = fuzz_lease(Path(folder), args.every, args.seed)
            show(title, found)


if __name__ == "__main__":
    main()
