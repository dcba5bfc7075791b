"""Wall time and worker utilisation of the quickstart, from its own table of trials."""

import json
import os
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Run the quickstart twice in an empty folder and print what it took."""
    with tempfile.TemporaryDirectory() as folder:
        first, second = timed(folder), timed(folder)
        spans = [span(path) for path in Path(folder).glob("artifacts/runs/*/*/*/metrics.json")]
    workers = len(os.sched_getaffinity(0))
    busy = sum(end - begin for begin, end in spans)
    window = max(end for _, end in spans) - min(begin for begin, _ in spans)
    print(f"first run          {first:.1f} s wall, {len(spans)} references and trials on {workers} workers")
    print(f"second run         {second:.2f} s wall")
    print(f"worker utilisation {busy / (workers * window):.1%} from the first start to the last end")
    print(f"outside that       {first - window:.1f} s: start of program and workers, table, picture")


def timed(folder: str) -> float:
    """Run the command once; return its seconds."""
    command = [Path(sys.executable).with_name("parsl-optuna"), "--config", ROOT / "config/quickstart.yaml"]
    begun = time.perf_counter()
    subprocess.run([*command, "--local"], cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - begun


def span(path: Path) -> tuple[float, float]:
    """Return when a run started and ended, in seconds."""
    metrics = json.loads(path.read_text())
    begin, end = (datetime.fromisoformat(metrics[name]).timestamp() for name in ("started", "ended"))
    return begin, end


if __name__ == "__main__":
    main()
