"""The house rules that a machine can check."""

import ast
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE = ROOT / "workflow"
PACKAGE = SOURCE / "parsl_optuna"
FILES = sorted(PACKAGE.rglob("*.py"))
# Imports go down this list, or stay in their row.
LAYERS = [
    {"core"},
    {"store", "kernels"},
    {"tasks"},
    {"worker"},
    {"execution"},
    {"study"},
    {"report"},
    {"api"},
    {"cli"},
    {"__main__"},
]
DOORS = {
    "torch": {"kernels", "tasks"},
    "parsl": {"execution"},
    "optuna": {"study.search"},
    "matplotlib": {"report.plots"},
    "plotly": {"report.interactive.page"},
    "yaml": {"core.load"},
    "cattrs": {"core.load", "core.mistakes", "core.codec"},
    "rfc8785": {"core.ids"},
}


def module_of(path):
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path, *, top_only=False):
    """Yield what a file imports; not what only its type checker does."""
    tree = ast.parse(path.read_text())
    guarded = {
        child
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in ast.walk(node)
    }
    for node in tree.body if top_only else ast.walk(tree):
        if node in guarded:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def test_imports_go_downhill():
    row = {name: index for index, names in enumerate(LAYERS) for name in names}
    for path in FILES:
        mine = room(module_of(path))
        if mine == "parsl_optuna":
            continue
        for name in imports(path):
            if name.startswith("parsl_optuna."):
                assert row.get(room(name), 0) <= row[mine], f"{path} imports {name}, which is above it"


def test_there_is_no_import_cycle():
    modules = {module_of(path): path for path in FILES}
    edges = {
        name: {other for other in imports(path, top_only=True) if other in modules and other != name}
        for name, path in modules.items()
    }

    def reached(start):
        seen, todo = set(), [start]
        while todo:
            for other in edges[todo.pop()] - seen:
                seen.add(other)
                todo.append(other)
        return seen

    assert [name for name in edges if name in reached(name)] == []


@pytest.mark.parametrize("library", DOORS)
def test_a_library_comes_in_by_its_door_only(library):
    for path in FILES:
        if any(name.split(".")[0] == library for name in imports(path) if name):
            module = module_of(path).removeprefix("parsl_optuna.")
            assert any(module == door or module.startswith(f"{door}.") for door in DOORS[library]), path


def test_files_and_functions_stay_short():
    for path in [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "benchmarks").rglob("*.py")]:
        text = path.read_text()
        assert text.count("\n") <= 400, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, f"{path}: {node.name}"


def test_every_unit_test_has_the_module_it_mirrors():
    unit = ROOT / "tests" / "unit"
    for path in unit.rglob("test_*.py"):
        mirrored = PACKAGE / path.relative_to(unit).with_name(path.name.removeprefix("test_"))
        assert mirrored.exists(), f"{path} mirrors nothing"


@pytest.mark.parametrize(
    ("command", "never"),
    [
        (["--help"], ["torch", "parsl", "optuna", "pandas", "matplotlib"]),
        (["run", "--help"], ["torch", "parsl", "optuna", "pandas", "matplotlib"]),
        (["status"], ["torch", "parsl", "optuna", "pandas", "matplotlib"]),
        (["tasks"], ["torch", "parsl", "optuna", "pandas", "matplotlib"]),
        (["plan", "--config", str(ROOT / "config" / "quickstart.yaml")], ["torch", "parsl", "matplotlib"]),
    ],
)
def test_what_must_be_instant_imports_nothing_heavy(tmp_path, command, never):
    code = (
        "import sys\n"
        "from parsl_optuna.cli.main import main\n"
        f"sys.argv = ['parsl-optuna', *{command!r}]\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code, end.code\n"
        f"print('loaded', [name for name in {never!r} if name in sys.modules])\n"
    )

    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )

    assert done.stdout.splitlines()[-1] == "loaded []"


def test_the_driver_never_loads_a_pickle_and_no_one_loads_yaml_objects():
    for path in FILES:
        text = path.read_text()
        assert "pickle.load" not in text, path
        assert "unsafe_load" not in text, path
        assert "yaml.Loader" not in text.replace("yaml.SafeLoader", ""), path


def test_help_is_instant():
    program = Path(sys.executable).with_name("parsl-optuna")

    def seconds(*command):
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return time.perf_counter() - begun

    mine = min(seconds(program, "--help") for _ in range(3))
    bare = min(seconds(sys.executable, "-c", "import click") for _ in range(3))
    assert mine < 4 * bare  # a ratio, so that a busy machine does not matter


def test_the_lowest_versions_that_are_tried_are_those_declared():
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = declared["optional-dependencies"]
    wanted = [*declared["dependencies"], *optional["dev"], *optional["samplers"]]
    # Of checks that make lowest does not run.
    tools = ("arviz-base", "ipykernel", "nbclient", "nbformat", "pyright", "ruff", "selenium")
    lowest = dict(entry.split(">=") for entry in wanted if not entry.startswith(tools))
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    tried = dict(line.split("==") for line in lines if not line.startswith("#"))

    assert tried.keys() == lowest.keys()
    for name in tried.keys() - {"torch"}:
        assert re.sub(r"(\.0)+$", "", tried[name]) == re.sub(r"(\.0)+$", "", lowest[name]), name
