import errno

import click
import pytest
from parsl_optuna.cli.main import guarded


def of(raised):
    """Return a command that raises."""

    @click.command()
    def command():
        raised()

    return command


def interrupt():
    raise KeyboardInterrupt


def interrupted_import():
    """As an extension module fails that is loaded while Ctrl-C comes."""
    try:
        interrupt()
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error


def fault():
    raise RuntimeError("a fault of ours")


def refused():
    raise PermissionError(errno.EACCES, "Permission denied", "objective.py")


def test_what_a_file_system_refuses_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["parsl-optuna"])

    with pytest.raises(SystemExit) as left:
        guarded(of(refused), "parsl-optuna")

    assert left.value.code == 2
    assert (
        capsys.readouterr().err == "error: objective.py: Permission denied; check the folder and the disk\n"
    )


@pytest.mark.parametrize("raised", [interrupt, interrupted_import])
def test_an_interrupt_is_said_in_one_line_whatever_a_library_makes_of_it(monkeypatch, capsys, raised):
    monkeypatch.setattr("sys.argv", ["parsl-optuna"])

    with pytest.raises(SystemExit) as left:
        guarded(of(raised), "parsl-optuna")

    assert left.value.code == 130
    assert capsys.readouterr().err.lstrip().startswith("interrupted; ")


def test_another_fault_is_not_called_an_interrupt(monkeypatch):
    monkeypatch.setattr("sys.argv", ["parsl-optuna"])

    with pytest.raises(RuntimeError):
        guarded(of(fault), "parsl-optuna")
