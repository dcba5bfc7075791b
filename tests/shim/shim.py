"""Build and use the library that makes calls on files fail, and logs their order."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("fault.c")


@functools.cache
def library() -> Path:
    """Compile the library once per test run."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler")
    target = Path(tempfile.mkdtemp()) / "fault.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", target, SOURCE, "-ldl"], check=True)
    return target


def environment(folder: Path, rules: str = "", log: Path | None = None, seed: int = 0) -> dict[str, str]:
    """Return the environment of a process whose calls on files below *folder* follow *rules*."""
    found = {"LD_PRELOAD": str(library()), "FAULT_DIR": str(folder), "FAULT_SEED": str(seed)}
    if rules:
        found["FAULT_RULES"] = rules
    if log is not None:
        found["FAULT_LOG"] = str(log)
    return os.environ | found


def calls(log: Path, folder: Path) -> list[tuple[str, str]]:
    """Return the logged calls in order, with paths relative to *folder*."""
    lines = [line.split(" ", 1) for line in log.read_text(encoding="utf-8").splitlines()]
    return [(call, str(Path(path).relative_to(folder))) for call, path in lines]
