import json
import subprocess
import sys
import threading
import time

import pytest
from parsl_optuna.core.errors import HeldError
from parsl_optuna.store.lease import Lease

HOLD = """
import sys, time
from pathlib import Path
from parsl_optuna.store.lease import Lease
with Lease(Path(sys.argv[1]), 0.1):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "results" / "driver.lock"


def holder(path):
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    return process


def test_it_is_there_while_held_and_gone_after(path):
    with Lease(path):
        assert path.exists()

    assert not path.exists()


def test_a_living_holder_is_named(path):
    process = holder(path)

    with pytest.raises(HeldError, match=f"held by process {process.pid} on "), Lease(path):
        pass

    process.kill()
    process.communicate()


def test_a_dead_holder_s_file_is_taken_over_at_once(path):
    process = holder(path)
    process.kill()
    process.communicate()

    begun = time.monotonic()
    with Lease(path):
        assert time.monotonic() - begun < 1


def test_a_process_that_has_the_dead_one_s_number_is_not_the_holder(path):
    process = holder(path)
    data = json.loads(path.read_text())
    path.write_text(json.dumps(data | {"started": "1"}))

    with Lease(path):
        pass

    process.kill()
    process.communicate()


@pytest.mark.parametrize("moves", [True, False])
def test_on_another_machine_the_beat_tells(path, moves):
    path.parent.mkdir()
    data = {
        "host": "elsewhere",
        "space": "x",
        "pid": 1,
        "started": "1",
        "token": "t",
        "since": "?",
        "beat": 0,
    }
    path.write_text(json.dumps(data))
    done = threading.Event()

    def beat():
        while moves and not done.wait(0.05):
            data["beat"] += 1
            path.write_text(json.dumps(data))

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        if moves:
            with pytest.raises(HeldError, match="on elsewhere"), Lease(path, 0.1):
                pass
        else:
            with Lease(path, 0.1):
                pass
    finally:
        done.set()
        thread.join()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}"])
def test_a_spoiled_file_holds_nobody_up(path, content):
    path.parent.mkdir()
    path.write_text(content)

    with Lease(path):
        pass


def test_of_many_takers_one_wins(path):
    process = holder(path)
    process.kill()
    process.communicate()
    won, lost, end = [], [], threading.Event()

    def take():
        try:
            with Lease(path, 0.1):
                won.append(1)
                end.wait(5)
        except HeldError:
            lost.append(1)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    limit = time.monotonic() + 5
    while len(won) + len(lost) < 4 and time.monotonic() < limit:
        time.sleep(0.02)
    end.set()
    for thread in threads:
        thread.join()

    assert (len(won), len(lost)) == (1, 3)
