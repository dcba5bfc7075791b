import subprocess
import sys

from parsl_optuna.tasks.user_module import imported_by


def value_of(folder, name):
    """Load a file in a fresh process that was started in its folder; return what it says."""
    code = (
        "from pathlib import Path\n"
        "from parsl_optuna.tasks.user_module import load\n"
        f"module = load(Path({str(folder / name)!r}), 'digest', Path({str(folder)!r}))\n"
        "import numpy\n"
        "print(module.value())\n"
    )
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=folder, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr


def write(folder, **files):
    for name, text in files.items():
        path = folder / (name.replace("__", "/") + ".py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)


def test_neighbours_are_found_and_hide_nothing_of_python(tmp_path):
    trap = "raise RuntimeError('hides another module')"
    write(tmp_path, random=trap, types=trap, json=trap, select=trap, parsl_optuna=trap, workflow=trap)
    write(tmp_path, utils="K = 3", f="from utils import K\nimport json\ndef value(): return json.dumps(K)")

    assert value_of(tmp_path, "f.py") == "3"


def test_a_file_with_the_name_of_a_module_of_python_is_loaded_all_the_same(tmp_path):
    write(tmp_path, types="def value(): return 5")

    assert value_of(tmp_path, "types.py") == "5"


def test_relative_imports_work_in_a_package(tmp_path):
    write(tmp_path, pkg__init="", pkg__helper="K = 7", pkg__f="from .helper import K\ndef value(): return K")
    (tmp_path / "pkg" / "init.py").rename(tmp_path / "pkg" / "__init__.py")

    assert value_of(tmp_path, "pkg/f.py") == "7"


def test_relative_imports_work_in_a_package_whose_name_is_taken(tmp_path):
    write(
        tmp_path, json__init="", json__helper="K = 8", json__f="from .helper import K\ndef value(): return K"
    )
    (tmp_path / "json" / "init.py").rename(tmp_path / "json" / "__init__.py")

    assert value_of(tmp_path, "json/f.py") == "8"


def test_what_a_file_imports_is_found_by_reading_it(tmp_path):
    write(
        tmp_path,
        f="import a\nimport json\ndef g():\n    from b import x",
        a="import c",
        b="",
        c="import a",
        d="",
    )

    assert [path.name for path in imported_by(tmp_path / "f.py")] == ["a.py", "b.py", "c.py"]
