import os

import pytest
from parsl_optuna.worker.messages import Listener, Voice


def test_what_does_not_carry_the_token_is_no_message():
    listener = Listener("mine")

    heard = listener.heard(
        b'garbage\n{"token": "other", "begun": true}\n[1]\n{"token": "mine", "begun": true}\n'
    )

    assert (heard, listener.n_strays) == ([{"begun": True}], 3)


def test_a_message_is_whole_when_it_comes_in_pieces():
    listener = Listener("mine")

    assert listener.heard(b'{"token": "mi') == []
    assert listener.heard(b'ne", "x": 1}\n') == [{"x": 1}]


def test_garbage_before_a_message_does_not_spoil_it():
    reads, writes = os.pipe()
    voice, listener = Voice(writes, "mine"), Listener("mine")
    os.write(voice._pipe, b"garbage{")

    voice.say(begun=True)

    assert listener.heard(os.read(reads, 1000)) == [{"begun": True}]


def test_nothing_is_written_into_a_file_that_took_the_pipe_s_place(tmp_path):
    _, writes = os.pipe()
    voice = Voice(writes, "mine")
    with (tmp_path / "file").open("wb") as stream:
        os.dup2(stream.fileno(), voice._pipe)

        with pytest.raises(BrokenPipeError):
            voice.say(begun=True)

    assert (tmp_path / "file").read_bytes() == b""
