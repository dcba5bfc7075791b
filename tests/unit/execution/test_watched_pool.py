"""A worker pool does not outlive what gives it work, wherever it is in its start."""

import pickle
import subprocess
import sys
import threading

import psutil
import pytest
import zmq
from parsl.executors.high_throughput.process_worker_pool import HEARTBEAT_CODE
from parsl_optuna.execution.watched_pool import Service

from tests.waiting import wait_for

ARGUMENTS = (
    "-a 127.0.0.1 -p 0 -c 1 -m None --hb_period=1 --hb_threshold=2 --drain_period=None "
    "--cert_dir None --cpu-affinity none"
)


@pytest.fixture
def interchange():
    """A socket where pools register, and its port."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as server:
        server.linger, server.rcvtimeo = 0, 20_000
        yield server, server.bind_to_random_port("tcp://127.0.0.1")


def start_pool(port, folder):
    command = [sys.executable, "-m", "parsl_optuna.execution.watched_pool", *ARGUMENTS.split()]
    return subprocess.Popen(
        [*command, f"--port={port}", "--max_workers_per_node=1", "--logdir", str(folder)],
        stderr=subprocess.DEVNULL,
    )


def test_a_port_that_was_served_and_is_refused_twice_is_gone(interchange):
    server, port = interchange
    service = Service(["127.0.0.2", "127.0.0.1"], port)
    assert service.is_there()
    assert not service.is_gone
    server.close()  # in another thread, some time
    wait_for(lambda: not service.is_there() and service.is_gone, 10)


def test_a_port_that_nobody_ever_served_is_not_called_gone():
    service = Service(["127.0.0.2", "127.0.0.1"], 1)

    assert not any(service.is_there() for _ in range(5))
    assert service.is_gone is False


def test_a_pool_whose_interchange_dies_before_it_registers_leaves_with_its_workers(interchange, tmp_path):
    """Parsl's own pool waits for the answer for ever."""
    server, port = interchange
    pool = start_pool(port, tmp_path)
    prober, _ = server.recv_multipart()
    server.send_multipart([prober, b"here"])
    server.recv_multipart()  # the second question, which a dead interchange leaves open
    started = psutil.Process(pool.pid).children(recursive=True)
    assert started
    server.close()

    assert pool.wait(timeout=15) == 1
    _, alive = psutil.wait_procs(started, timeout=15)
    assert not alive


def test_a_pool_probes_and_connects_under_different_identities(interchange, tmp_path):
    """An interchange that has yet to notice that the probe has left would drop the pool's own connection."""
    server, port = interchange
    pool = start_pool(port, tmp_path)
    try:
        prober, _ = server.recv_multipart()
        server.send_multipart([prober, b"here"])
        talker, _ = server.recv_multipart()
    finally:
        for one in [*psutil.Process(pool.pid).children(recursive=True), pool]:
            one.kill()
        pool.wait()

    assert prober != talker


def test_a_pool_that_is_served_stays(interchange, tmp_path):
    server, port = interchange
    pool = start_pool(port, tmp_path)
    answering = threading.Event()

    def answer():
        while not answering.is_set():
            if server.poll(200):
                sender, _ = server.recv_multipart()
                server.send_multipart([sender, pickle.dumps(HEARTBEAT_CODE)])

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            pool.wait(timeout=6)
    finally:
        answering.set()
        thread.join()
        for one in [*psutil.Process(pool.pid).children(recursive=True), pool]:
            one.kill()
        pool.wait()


def test_a_pool_leaves_though_a_thread_of_it_waits_for_ever():
    """As Parsl's does where a result comes while it gives up its interchange."""
    lines = (
        "import threading, time",
        "from parsl_optuna.execution.watched_pool import leave_with_talker",
        "threading.Thread(target=leave_with_talker, args=(0.1,), daemon=True).start()",
        "threading.Thread(target=time.sleep, args=(1.0,), name='Interchange-Communicator').start()",
        "time.sleep(60)",
    )
    pool = subprocess.Popen([sys.executable, "-c", "\n".join(lines)])

    assert pool.wait(timeout=45) == 1
