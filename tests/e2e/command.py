"""Commands as a user runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
MARK = "PARSL_OPTUNA_TEST"
"""Variable by which the processes of a run are found: the folder of its configuration."""

SCRIPTS = {name: Path(sys.executable).with_name(name) for name in ("parsl-optuna", "parsl-llc")}


def start(program, *args, cwd=ROOT, **kwargs):
    """Start a command of this package in its own session."""
    mark = str(Path(args[args.index("--config") + 1]).parent) if "--config" in args else ""
    return subprocess.Popen(
        [str(SCRIPTS[program]), *map(str, args)],
        cwd=cwd,
        env=os.environ | {"COLUMNS": "200", MARK: mark},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        **kwargs,
    )


def run(program, *args, cwd=ROOT, code=0, timeout=120):
    """Run a command to its end; it must leave with *code* and never with a traceback."""
    process = start(program, *args, cwd=cwd)
    out, err = process.communicate(timeout=timeout)
    assert process.returncode == code, f"{process.returncode}\n{out}\n{err}"
    assert "Traceback" not in err
    return out, err


def write_config(folder, **changes):
    """Write a toy configuration whose outputs lie in *folder*; return its path."""
    data = {
        "task": "tests.toy:TASK",
        "problems": [{"truth": 1.0}],
        "methods": ["guess"],
        "optuna": {"max_trials": 5, "batch_size": 2, "confirm": 0, "n_startup_trials": 3},
        "artifacts_dir": str(folder / "artifacts"),
        "results_dir": str(folder / "results"),
    }
    data |= changes
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({name: value for name, value in data.items() if value is not None}))
    return path
