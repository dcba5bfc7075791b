"""What a forked process takes over of its parent's signal handlers."""

import signal
import subprocess
import sys

import pytest

FORK = """
import os, signal, sys, time
from parsl_optuna.core.processes import drop_in_forks
ours, theirs = (lambda *_: None), (lambda *_: os._exit(7))
signal.signal(signal.SIGTERM, ours)
drop_in_forks({signal.SIGTERM: ours})
if sys.argv[1] == "theirs":
    signal.signal(signal.SIGTERM, theirs)
ready, say = os.pipe()
child = os.fork()
if child == 0:
    os.write(say, b"x")
    time.sleep(20)
    os._exit(1)
os.read(ready, 1)
os.kill(child, signal.SIGTERM)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize(("whose", "code"), [("ours", -signal.SIGTERM), ("theirs", 7)])
def test_a_fork_drops_the_engines_handlers_and_keeps_the_tasks(whose, code):
    done = subprocess.run([sys.executable, "-c", FORK, whose], capture_output=True, text=True, check=True)

    assert int(done.stdout) == code
