"""Names that a script and a worker that imports it would take for different values."""

import pytest
from parsl_optuna.api.main_only import differing

PARSED = "import argparse\nparser = argparse.ArgumentParser()\nargs = parser.parse_args()\n"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("K = 1\ndef f(x): return x * K\nif __name__ == '__main__':\n    K = 2\n", "'K', which is set below"),
        ("K = 1\ndef g(x): return x * K\ndef f(x): return g(x)\nif __name__ == '__main__': K = 2\n", "'K'"),
        ("K = 1\ndef f(x, k=K): return x * k\nif __name__ == '__main__': K = 2\n", "'K'"),
        ("K = 1\ndef f(x): return x * K\ndef main():\n    global K\n    K = 2\n", "'K'"),
        (PARSED + "def f(x): return x * args.k\n", "'args', which comes from the command line"),
        (PARSED + "K = args.k\ndef f(x): return x * K\n", "'K', which comes from the command line"),
        ("import sys\nK = float(sys.argv[1])\ndef f(x, k=K): return x * k\n", "'K'"),
        ("import sys\ndef k(): return float(sys.argv[1])\ndef f(x): return x * k()\n", "'k'"),
        ("import sys\ndef f(x): return x * len(sys.argv)\n", "reads sys.argv"),
    ],
)
def test_a_value_that_only_the_script_has_is_told(text, words):
    assert words in (differing(text, "f", is_main=True, has_arguments=True) or "")


@pytest.mark.parametrize(
    "text",
    [
        "K = 1\ndef f(x): return x * K\nif __name__ == '__main__':\n    study = f\n",
        "K = 1\ndef f(x):\n    K = 3\n    return x * K\nif __name__ == '__main__':\n    K = 2\n",
        "K = None\ndef load():\n    global K\n    K = 2\ndef f(x):\n    load()\n    return x * K\n",
        "K = None\ndef load():\n    global K\n    K = 2\nload()\ndef f(x): return x * K\n",
        PARSED + "def f(x):\n    args = 3\n    return x * args\n",
        PARSED + "def other(): return args\ndef f(x): return x\n",
    ],
)
def test_what_workers_have_as_well_is_none(text):
    assert differing(text, "f", is_main=True, has_arguments=True) is None


def test_without_arguments_the_command_line_says_the_same_everywhere():
    assert differing(PARSED + "def f(x): return x * args.k\n", "f", is_main=True, has_arguments=False) is None


def test_a_module_that_is_imported_never_runs_what_stands_below_main():
    text = "K = 1\ndef f(x): return x * K\nif __name__ == '__main__': K = 2\n"

    assert differing(text, "f", is_main=False, has_arguments=True) is None
