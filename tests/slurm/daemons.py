"""A real SLURM on one machine for the time of a test run: one controller, two node daemons, no systemd."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from tests.waiting import wait_for

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "munged")
_CONF = """\
ClusterName=tests
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort=26810
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SwitchType=switch/none
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
GresTypes=gpu
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
ReturnToService=2
KillWait=5
SlurmdTimeout=15
InactiveLimit=0
SlurmdParameters=config_overrides
{nodes}
PartitionName=debug Nodes=n[1-2] Default=YES MaxTime=60 DefaultTime=10 State=UP
"""


class Cluster:
    """Daemons in a folder; `conf` goes into SLURM_CONF."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.conf = folder, folder / "slurm.conf"

    def start(self) -> None:
        """Start munge if it does not answer, then the daemons; wait until both nodes are idle."""
        _munge()
        host = socket.gethostname().split(".")[0]
        (self.folder / "state").mkdir(parents=True)
        nodes = []
        for i in (1, 2):
            (self.folder / f"spool-n{i}").mkdir()
            nodes.append(
                f"NodeName=n{i} NodeHostname={host} NodeAddr=127.0.0.1 Port={26810 + i} "
                "CPUs=2 RealMemory=4000 Gres=gpu:2 State=UNKNOWN"
            )
        self.conf.write_text(_CONF.format(host=host, folder=self.folder, nodes="\n".join(nodes)))
        devices = [f"NodeName=n[1-2] Name=gpu File=/dev/{name}\n" for name in ("null", "zero")]
        (self.folder / "gres.conf").write_text("".join(devices))
        os.environ["SLURM_CONF"] = str(self.conf)
        subprocess.run(["slurmctld", "-c", "-f", self.conf], check=True)
        for i in (1, 2):
            subprocess.run(["slurmd", "-N", f"n{i}", "-f", self.conf], check=True)
        wait_for(lambda: self.call("sinfo", "-h", "-N", "-t", "idle").count("\n") == 2)

    def stop(self) -> None:
        """Cancel all jobs and stop the daemons."""
        self.call("scancel", "-u", "root")
        time.sleep(0.5)
        for path in self.folder.glob("*.pid"):
            try:
                os.kill(int(path.read_text()), signal.SIGTERM)
            except (ValueError, ProcessLookupError):
                continue
        os.environ.pop("SLURM_CONF", None)

    def call(self, *command: str) -> str:
        """Run a client program; return what it prints."""
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout

    def jobs(self, state: str = "RUNNING") -> list[str]:
        """List the ids of jobs in a state."""
        return self.call("squeue", "-h", "-t", state, "-o", "%i").split()


def missing() -> str | None:
    """Say why no cluster can be started here; None when one can."""
    lacking = [name for name in PROGRAMS if shutil.which(name) is None]
    if lacking:
        return f"{lacking[0]} is not installed"
    return None if os.geteuid() == 0 else "only root may start the daemons"


def _munge() -> None:
    def answers() -> bool:
        return subprocess.run(["munge", "-n"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0

    key = Path("/etc/munge/munge.key")
    if not key.exists():
        key.write_bytes(os.urandom(1024))
        shutil.chown(key, "munge", "munge")
        key.chmod(0o400)
    if not answers():
        Path("/run/munge").mkdir(mode=0o755, exist_ok=True)
        shutil.chown("/run/munge", "munge", "munge")
        subprocess.run(
            ["setpriv", "--reuid=munge", "--regid=munge", "--clear-groups", "/usr/sbin/munged"], check=True
        )
        wait_for(answers, 10)
