#!/usr/bin/env python3
"""A stand-in for PBS on one machine, for lack of a server in the registries: qsub, qstat and qdel.

The words, exit codes and states are those of OpenPBS. Jobs are real: the submit script runs in a session of
its own, in a queue with a number of slots and with its walltime, and is killed as PBS kills. A file
``only_first`` in the state folder brings back openpbs issue 2672.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

STATE = Path(os.environ["PBS_STANDIN"])
SLOTS = 2
GRACE_SEC = 2.0


def job_path(identifier):
    return STATE / f"{identifier.split('.')[0]}.json"


def load(identifier):
    path = job_path(identifier)
    return json.loads(path.read_text()) if path.exists() else None


def store(job):
    path = job_path(job["id"])
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(job))
    temporary.replace(path)


def jobs():
    return [json.loads(path.read_text()) for path in sorted(STATE.glob("*.json"))]


def fail(code, text):
    print(text, file=sys.stderr)
    raise SystemExit(code)


def qsub(arguments):
    queue = None
    while len(arguments) > 1:
        option, value, *arguments = arguments
        queue = value if option == "-q" else queue
    script = Path(arguments[0]).read_text()
    if queue not in (None, "workq"):
        fail(170, "qsub: Unknown queue")
    walltime = re.search(r"#PBS -l walltime=(\d+):(\d+):(\d+)", script)
    hours, minutes, seconds = map(int, walltime.groups())
    out = dict(re.findall(r"#PBS -([oe]) (\S+)", script))
    number = 1 + max((int(path.stem) for path in STATE.glob("*.json")), default=0)
    job = {"id": f"{number}.pbshost", "job_state": "Q", "script": arguments[0], "out": out}
    job |= {"walltime": 3600 * hours + 60 * minutes + seconds}
    store(job)
    command = [sys.executable, __file__, "mom", job["id"]]
    nowhere = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.Popen(command, start_new_session=True, **nowhere)
    print(job["id"])


def mom(arguments):
    """Wait for a slot, run the job, kill it at its walltime."""
    (identifier,) = arguments
    while sum(job["job_state"] == "R" for job in jobs()) >= SLOTS:
        if load(identifier)["job_state"] == "F":
            return
        time.sleep(0.1)
    job = load(identifier)
    environment = os.environ | {"PBS_JOBID": identifier}
    with Path(job["out"]["o"]).open("w") as out, Path(job["out"]["e"]).open("w") as err:
        process = subprocess.Popen(
            ["bash", job["script"]], stdout=out, stderr=err, start_new_session=True, env=environment
        )
    store(job | {"job_state": "R", "pid": process.pid})
    limit = time.monotonic() + job["walltime"]
    while process.poll() is None:
        if time.monotonic() > limit:
            end(process.pid)
        time.sleep(0.1)
    store(load(identifier) | {"job_state": "F", "Exit_status": process.returncode})


def end(pid):
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return
        time.sleep(GRACE_SEC)


def qstat(arguments):
    identifiers = [word for word in arguments if word[0].isdigit()]
    unknown = [word for word in identifiers if load(word) is None]
    if unknown:
        fail(153, f"qstat: Unknown Job Id {unknown[0]}")
    if (STATE / "only_first").exists():
        identifiers = identifiers[:1]
    print(json.dumps({"Jobs": {word: {"job_state": load(word)["job_state"]} for word in identifiers}}))


def qdel(arguments):
    for identifier in arguments:
        job = load(identifier)
        if job is None:
            fail(153, f"qdel: Unknown Job Id {identifier}")
        if job["job_state"] == "F":
            fail(35, f"qdel: Job has finished {identifier}")
        if job["job_state"] == "R":
            end(job["pid"])
        store(load(identifier) | {"job_state": "F"})


if __name__ == "__main__":
    name = Path(sys.argv[0]).name
    words = sys.argv[1:]
    if words and words[0] == "mom":
        name, words = "mom", words[1:]
    {"qsub": qsub, "qstat": qstat, "qdel": qdel, "mom": mom}[name](words)
