#!/usr/bin/env python3
"""A stand-in for PBS on one machine, for lack of a server in the registries.

The words, exit codes and states are those of OpenPBS 23.06.06. Jobs are real: the submit script runs in a
session of its own, in the home folder, without the submitter's environment, on nodes with a number of cores,
and with its walltime; it is killed as PBS kills, by its session.

A file in the state folder is a switch: ``history`` keeps finished jobs (the default of PBS does not),
``only_first`` brings back openpbs issue 2672, ``hold`` holds new jobs, ``silent`` lets qstat fail.
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
NODES = ("n1", "n2")
CORES = 4
GRACE_SEC = 2.0


def job_path(identifier):
    return STATE / f"{identifier.split('.')[0]}.json"


def load(identifier):
    path = job_path(identifier)
    return json.loads(path.read_text()) if path.exists() else None


def store(job):
    path = job_path(job["id"])
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(job))
    temporary.replace(path)


def jobs():
    return [json.loads(path.read_text()) for path in sorted(STATE.glob("*.json"))]


def fail(code, text):
    print(text, file=sys.stderr)
    raise SystemExit(code)


def is_on(switch):
    return (STATE / switch).exists()


def qsub(arguments):
    script = Path(arguments[0]).read_text()
    asked = dict(re.findall(r"^#PBS -l (\w+)=(.*)$", script, re.MULTILINE))
    options = dict(re.findall(r"^#PBS -([NqoA]) (.*)$", script, re.MULTILINE))
    if options.get("q", "workq") != "workq":
        fail(170, "qsub: Unknown queue")
    hours, minutes, seconds = map(int, asked["walltime"].split(":"))
    chunks, _, chunk = asked["select"].partition(":")
    number = 1 + max((int(path.stem) for path in STATE.glob("*.json")), default=0)
    job = {
        "id": f"{number}.pbshost",
        "name": options["N"],
        "job_state": "H" if is_on("hold") else "Q",
        "script": arguments[0],
        "text": script,
        "out": options["o"],
        "walltime": 3600 * hours + 60 * minutes + seconds,
        "chunks": int(chunks),
        "ncpus": int(re.search(r"ncpus=(\d+)", chunk).group(1)),
        "place": asked.get("place", ""),
        "workdir": str(Path.cwd()),
    }
    if job["ncpus"] > CORES:
        job["comment"] = (
            f"Can Never Run: Insufficient amount of resource: ncpus (R: {job['ncpus']} A: {CORES})"
        )
    store(job)
    nowhere = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    subprocess.Popen([sys.executable, __file__, "mom", job["id"]], start_new_session=True, **nowhere)
    print(job["id"])


def nodes_for(job):
    """Return a node per chunk; None while there is no room."""
    if job["job_state"] == "H" or job["ncpus"] > CORES:
        return None
    used = dict.fromkeys(NODES, 0)
    for other in jobs():
        for node in other.get("nodes", []) if other["job_state"] == "R" else []:
            used[node] += CORES if "excl" in other["place"] else other["ncpus"]
    found = []
    for _ in range(job["chunks"]):
        for node in NODES:
            need = CORES if "excl" in job["place"] and node not in found else job["ncpus"]
            if used[node] + need <= CORES and not ("scatter" in job["place"] and node in found):
                used[node] += need
                found.append(node)
                break
        else:
            return None
    return found


def mom(arguments):
    """Wait for room, run the job, kill it at its walltime."""
    (identifier,) = arguments
    while True:
        job = load(identifier)
        if job is None or job["job_state"] == "F":
            return
        if job["job_state"] == "H" and not is_on("hold"):
            store(job | {"job_state": "Q"})
        elif nodes := nodes_for(job):
            break
        time.sleep(0.1)
    nodefile = STATE / f"{identifier}.nodes"
    nodefile.write_text("".join(f"{node}\n" for node in nodes))
    home = STATE / "home"
    home.mkdir(exist_ok=True)
    environment = {
        "HOME": str(home),
        "PATH": f"{Path(__file__).parent}:/usr/bin:/bin",
        "PBS_STANDIN": str(STATE),
        "PBS_JOBID": identifier,
        "PBS_NODEFILE": str(nodefile),
        "PBS_O_WORKDIR": job["workdir"],
        "STANDIN_NODE": nodes[0],
    }
    with Path(job["out"]).open("w") as out:
        process = subprocess.Popen(
            ["bash", job["script"]], stdout=out, stderr=out, start_new_session=True, env=environment, cwd=home
        )
    store(job | {"job_state": "R", "pid": process.pid, "nodes": nodes})
    limit = time.monotonic() + job["walltime"]
    while process.poll() is None:
        if time.monotonic() > limit:
            end(process.pid)
        time.sleep(0.1)
    end(process.pid)
    job = load(identifier)
    if job is not None:
        store(job | {"job_state": "F", "Exit_status": process.returncode})


def session(leader):
    """Return the processes of a session, which are all that PBS finds."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


def end(leader):
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in session(leader):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        limit = time.monotonic() + GRACE_SEC
        while session(leader) and time.monotonic() < limit:
            time.sleep(0.05)


def qstat(arguments):
    if is_on("silent"):
        fail(1, "pbs_connect: Connection refused")
    identifiers = [word for word in arguments if word[0].isdigit()]
    if "-x" in arguments and not is_on("history"):
        print("qstat: server is not configured to maintain job history", file=sys.stderr)
        print(json.dumps({"pbs_version": "23.06.06"}))
        return
    found = {}
    for word in identifiers:
        job = load(word)
        if job is None or (job["job_state"] == "F" and not is_on("history")):
            fail(153, f"qstat: Unknown Job Id {word}")
        if job["job_state"] == "F" and "-x" not in arguments:
            fail(35, f"qstat: {word} Job has finished, use -x or -H to obtain historical job information")
        found[word] = {name: job[name] for name in ("job_state", "comment", "Exit_status") if name in job}
        if is_on("only_first"):
            break
    print(json.dumps({"pbs_version": "23.06.06", "Jobs": found}))


def qdel(arguments):
    forget = "-x" in arguments
    for identifier in [word for word in arguments if word[0].isdigit()]:
        job = load(identifier)
        if job is None:
            fail(153, f"qdel: Unknown Job Id {identifier}")
        if job["job_state"] == "F":
            fail(35, f"qdel: Job has finished {identifier}")
        if job["job_state"] == "R":
            end(job["pid"])
        if forget:
            job_path(identifier).unlink()
        else:
            store(load(identifier) | {"job_state": "F"})


def qselect(arguments):
    name = arguments[arguments.index("-N") + 1]
    for job in jobs():
        if job["job_state"] != "F" and job["name"] == name:
            print(job["id"])


def pbsdsh(arguments):
    """Run a command on every chunk, without the environment of the job's script."""
    nodes = Path(os.environ["PBS_NODEFILE"]).read_text().split()
    kept = {name: os.environ[name] for name in os.environ if name.startswith("PBS_")}
    running = [
        subprocess.Popen(arguments[1:], env=kept | {"STANDIN_NODE": node, "PATH": "/usr/bin:/bin"})
        for node in nodes
    ]
    raise SystemExit(max(process.wait() for process in running))


if __name__ == "__main__":
    name = Path(sys.argv[0]).name
    words = sys.argv[1:]
    if words and words[0] == "mom":
        name, words = "mom", words[1:]
    programs = {"qsub": qsub, "qstat": qstat, "qdel": qdel, "qselect": qselect, "pbsdsh": pbsdsh, "mom": mom}
    programs[name](words)
