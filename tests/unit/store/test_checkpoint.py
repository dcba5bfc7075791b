import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsl_optuna.core.errors import Preempted
from parsl_optuna.store.checkpoint import Checkpoint


class Clock:
    time = 0.0

    def __call__(self):
        return self.time


def test_what_was_saved_last_is_loaded_and_the_rest_is_gone(tmp_path):
    first = Checkpoint(tmp_path)
    first.save(b"one")
    first.save(b"two")

    assert Checkpoint(tmp_path).load() == b"two"
    assert len(list(tmp_path.iterdir())) == 1


def test_the_time_used_adds_up_over_attempts(tmp_path):
    clock = Clock()
    one = Checkpoint(tmp_path, now=clock)
    clock.time = 5.0
    one.save(b"x")
    two = Checkpoint(tmp_path, now=clock)
    clock.time = 7.0
    two.save(b"y")

    assert two.used_sec == 5.0
    assert Checkpoint(tmp_path, now=clock).used_sec == 7.0


def test_saving_is_due_now_and_then(tmp_path):
    clock = Clock()
    checkpoint = Checkpoint(tmp_path, every_sec=10.0, now=clock)

    assert not checkpoint.due()
    clock.time = 10.0
    assert checkpoint.due()
    checkpoint.save(b"x")
    assert not checkpoint.due()


def test_a_node_that_is_wanted_back_gets_a_save_and_an_end(tmp_path):
    checkpoint = Checkpoint(tmp_path, stopping=lambda: True)

    assert checkpoint.due()
    with pytest.raises(Preempted):
        checkpoint.save(b"x")
    assert Checkpoint(tmp_path).load() == b"x"


@pytest.mark.parametrize("position", [0, 7, 8, -1])
def test_a_checkpoint_with_a_changed_byte_is_passed_over(tmp_path, position):
    """Of the seconds used and of the content, first and last byte; nothing is cut."""
    Checkpoint(tmp_path).save(b"content")
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(bytes(content))

    again = Checkpoint(tmp_path)
    assert (again.used_sec, again.load()) == (0.0, None)


@settings(max_examples=40, deadline=None)
@given(st.binary(max_size=50), st.binary(max_size=50), st.integers(0, 80))
def test_a_torn_or_changed_file_is_passed_over(tmp_path_factory, older, newer, cut):
    folder = tmp_path_factory.mktemp("c")
    Checkpoint(folder).save(older)
    (kept,) = folder.iterdir()
    content = kept.read_bytes()
    Checkpoint(folder).save(newer)
    (last,) = folder.iterdir()
    whole = last.read_bytes()
    kept.write_bytes(content)  # a crash between the new file and the end of the old one leaves both
    last.write_bytes(whole[:cut])

    assert Checkpoint(folder).load() == (newer if cut >= len(whole) else older)


def test_without_a_folder_nothing_is_kept():
    checkpoint = Checkpoint(None, every_sec=0.0, stopping=lambda: True)

    checkpoint.save(b"x")

    assert not checkpoint.due()
    assert checkpoint.load() is None


def test_clearing_leaves_nothing(tmp_path):
    checkpoint = Checkpoint(tmp_path)
    checkpoint.save(b"x")

    checkpoint.clear()

    assert list(tmp_path.iterdir()) == []
