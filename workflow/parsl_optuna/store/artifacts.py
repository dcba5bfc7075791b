"""The artifacts as a store: every hit is verified, every write is atomic, nothing is overwritten."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from parsl_optuna.core import ids
from parsl_optuna.core.errors import CorruptArtifact, StoreError
from parsl_optuna.core.records import Asked, Manifest, Outcome, ReferenceValue
from parsl_optuna.store import checks, document
from parsl_optuna.store.atomic import is_disk_fault, read_bytes, writing
from parsl_optuna.store.checkpoint import Checkpoint
from parsl_optuna.store.exclusive import drop_claim
from parsl_optuna.store.layout import METHOD_FOLDER, PROBLEM_FOLDER, TRIAL_FOLDER, Artifacts
from parsl_optuna.store.probe import probe

_SEAL = "prepared.json"


class ArtifactStore:
    """Manifests, outcomes, references and prepared problems below one folder.

    Args:
        root: The artifacts folder; made on the first write.
    """

    def __init__(self, root: Path) -> None:
        self.paths = Artifacts(root)

    def check_writable(self) -> None:
        """Try on the folder what the store needs of a file system, making it if it is not there.

        Raises:
            StoreError: The folder cannot be made or written, or two workers could get the same name.
        """
        probe(self.paths.root, "choose another --artifacts-dir")

    # Problems.

    def put_problem(self, task: str, version: int, problem: Mapping[str, Any], label: str) -> str:
        """Store a resolved problem; return its id.

        Raises:
            CorruptArtifact: Another problem is stored under the same id.
        """
        pid = ids.problem_id(task, version, problem)
        identity = {"task": task, "task_version": version, "problem": dict(problem)}
        stored = self.problem(pid)
        if stored is None:
            data = {"pid": pid, "id_version": ids.ID_VERSION, **identity, "label": label}
            document.write(self.paths.problem(pid), data, replace=False)
        return pid

    def problem(self, pid: str) -> dict[str, Any] | None:
        """Return the stored problem ``{task, task_version, problem, label}``, verified.

        Raises:
            CorruptArtifact: The content does not hash to *pid*.
        """
        path = self.paths.problem(pid)
        content = read_bytes(path)
        return None if content is None else checks.problem_in(path, content, pid)

    def problem_ids(self) -> list[str]:
        """List all problems, sorted."""
        return _folders(self.paths.problems, PROBLEM_FOLDER)

    def prepared(self, pid: str) -> Path | None:
        """Return the folder of the prepared problem with every file verified, or None.

        Raises:
            CorruptArtifact: A file is missing or differs from its checksum.
        """
        folder = self.paths.prepared(pid)
        seal = document.read(folder / _SEAL)
        if seal is None:
            return None
        files = seal.get("files")
        if not isinstance(files, dict):
            raise CorruptArtifact(f"{folder / _SEAL}: lists no files; delete {folder} to have it made again")
        for name, checksum in files.items():
            path = folder / name
            if not path.is_file() or _checksum(path) != checksum:
                raise CorruptArtifact(f"{path}: missing or damaged; delete {folder} to have it made again")
        return folder

    def prepare(self, pid: str, build: Callable[[Path], None]) -> Path:
        """Return the prepared problem, calling *build* on an empty folder if there is none yet.

        The folder appears in one step. Of several builders at once the first one wins.
        """
        ready = self.prepared(pid)
        if ready is not None:
            return ready
        target = self.paths.prepared(pid)
        with writing(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            draft = Path(tempfile.mkdtemp(prefix=".prepared-", dir=target.parent))
        try:
            _build(build, draft)
            files = {path.name: _checksum(path) for path in sorted(draft.iterdir())}
            document.write(draft / _SEAL, {"files": files})
            with writing(target):
                draft.chmod(0o755)
                try:
                    draft.rename(target)
                except OSError:  # the name is taken by another builder
                    if not target.is_dir():
                        raise
        finally:
            shutil.rmtree(draft, ignore_errors=True)
        ready = self.prepared(pid)
        if ready is None:
            raise StoreError(f"{target}: could not be prepared")
        return ready

    # References.

    def put_reference(self, pid: str, data: Mapping[str, Any]) -> None:
        """Publish a reference; its ``metrics`` also stand at top level, where their names are free."""
        document.write(self.paths.reference(pid), {**data["metrics"], "pid": pid, **data})

    def reference(self, pid: str, value: str, se: str) -> ReferenceValue | None:
        """Return the published reference, with its value under the keys *value* and *se*.

        Raises:
            CorruptArtifact: Changed, malformed, or the reference of another problem.
        """
        path = self.paths.reference(pid)
        data = document.read(path)
        if data is None:
            return None
        return checks.reference_in(path, data, pid, value, se)

    # Trials.

    def put_manifest(self, manifest: Manifest, asked: Asked) -> Asked:
        """Store a manifest before its launch, unless it is there; return how it was first asked.

        A reference's budget is not part of its identity: a stored one takes the new budget.
        It outlives a power failure with the trial's outcome; alone, the trial has yet to run.

        Raises:
            CorruptArtifact: Another manifest is stored under the same id.
        """
        trial_id = manifest.trial_id
        path = self.paths.manifest(manifest.pid, manifest.method, trial_id)
        data = {"trial_id": trial_id, **manifest.to_json(), "asked": asked.to_json()}
        if document.write(path, data, replace=False, durable=False):
            return asked
        found = document.read(path, durable=False, cure=checks.MANIFEST_CURE)
        if found is None:
            document.write(path, data)
            return asked
        stored, first = checks.manifest_in(path, found, trial_id)
        if ids.canonical(stored.identity()) != ids.canonical(manifest.identity()):
            raise CorruptArtifact(f"{path}: a collision: holds another trial of the id {trial_id}")
        if stored.budget_sec != manifest.budget_sec:
            document.write(path, found | {"budget_sec": manifest.budget_sec})
        return first

    def manifest(self, pid: str, method: str, trial_id: str) -> tuple[Manifest, Asked]:
        """Return a stored manifest, verified.

        Raises:
            CorruptArtifact: Missing, malformed, or its content does not hash to *trial_id*.
        """
        path = self.paths.manifest(pid, method, trial_id)
        data = document.read(path, cure=checks.MANIFEST_CURE)
        if data is None:
            raise CorruptArtifact(f"{path}: is missing; delete the folder, or restore it")
        return checks.manifest_in(path, data, trial_id)

    def trial_ids(self, pid: str, method: str) -> list[str]:
        """List the folders of trials of a problem and method, sorted."""
        return _folders(self.paths.trials(pid, method), TRIAL_FOLDER)

    def manifests(self, pid: str, method: str) -> Iterator[tuple[Manifest, Asked]]:
        """Yield all stored manifests of a problem and method, by id.

        A folder without a manifest, or with an empty one, is what a crash leaves, and is skipped. So is a
        trial of another problem or method, which lies here in a copy of its folder.
        """
        for trial_id in self.trial_ids(pid, method):
            path = self.paths.manifest(pid, method, trial_id)
            data = document.read(path, durable=False, cure=checks.MANIFEST_CURE)
            if data is None:
                continue
            manifest, asked = checks.manifest_in(path, data, trial_id)
            if (manifest.pid, manifest.method) == (pid, method):
                yield manifest, asked

    def methods(self, pid: str) -> list[str]:
        """List the methods that have trials for a problem."""
        return _folders(self.paths.runs / pid, METHOD_FOLDER)

    def outcome(self, manifest: Manifest) -> Outcome | None:
        """Return what came of a trial, or None while nothing did.

        Raises:
            CorruptArtifact: Malformed, or the outcome of another trial.
        """
        path = self.paths.metrics(manifest.pid, manifest.method, manifest.trial_id)
        data = document.read(path, cure=checks.OUTCOME_CURE)
        return None if data is None else checks.outcome_in(path, data, manifest.trial_id)

    def commit(self, manifest: Manifest, outcome: Outcome) -> Outcome:
        """Store an outcome; the first one committed is the accepted one, and is returned."""
        names = (manifest.pid, manifest.method, manifest.trial_id)
        path, manifest_path = self.paths.metrics(*names), self.paths.manifest(*names)
        data = checks.with_copies(outcome)
        if document.write(path, data, replace=False, beside=manifest_path):
            return outcome
        accepted = self.outcome(manifest)
        return outcome if accepted is None else accepted

    def root_of(self, manifest: Manifest, asked: Asked) -> str:
        """Return the first trial of a chain of extensions; all of them share its seed."""
        root = manifest.trial_id
        while asked.extends is not None:
            root = asked.extends
            _, asked = self.manifest(manifest.pid, manifest.method, root)
        return root

    def has_checkpoint(self, manifest: Manifest) -> bool:
        """Whether a trial left a checkpoint that another attempt, or a longer trial, can start from."""
        folder = self.paths.metrics(manifest.pid, manifest.method, manifest.trial_id).parent
        return Checkpoint(folder).load() is not None

    def retire(self, manifest: Manifest) -> None:
        """Set an outcome aside, so that its trial runs again.

        The outcome, and what the trial printed and left in files, are kept under other names.
        """
        names = (manifest.pid, manifest.method, manifest.trial_id)
        path = self.paths.metrics(*names)
        drop_claim(path)
        count = len(list(path.parent.glob("metrics.retired-*.json")))
        self.paths.stop(*names).unlink(missing_ok=True)
        left = [self.paths.files(*names), *(self.paths.output(*names, one) for one in ("stdout", "stderr"))]
        with writing(path):
            for other in left:
                if other.exists():
                    other.rename(other.with_name(f"{other.stem}.retired-{count + 1}{other.suffix}"))
            path.replace(path.with_name(f"metrics.retired-{count + 1}.json"))


def _build(build: Callable[[Path], None], folder: Path) -> None:
    """Call *build*; a full or failing disk is no fault of the task."""
    try:
        build(folder)
    except OSError as error:
        if not is_disk_fault(error):
            raise
        with writing(folder):
            raise


def _folders(parent: Path, kind: re.Pattern[str]) -> list[str]:
    try:
        with os.scandir(parent) as entries:
            return sorted(one.name for one in entries if kind.fullmatch(one.name) and one.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _checksum(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}") from error
