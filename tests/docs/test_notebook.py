"""The notebook of the tutorial runs, and runs again without repeating anything."""

import json
import shutil

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial" / "notebook.ipynb"
LIMIT_SEC = 120
"""Of a cell; on a machine at rest all of them take 15 s."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("notebook")


def run(folder):
    shutil.copy(NOTEBOOK, folder)
    notebook = nbformat.read(folder / NOTEBOOK.name, as_version=4)
    NotebookClient(notebook, timeout=LIMIT_SEC, resources={"metadata": {"path": str(folder)}}).execute()
    return [
        "".join(
            str(output.get("data", {}).get("text/plain", output.get("text", ""))) for output in cell.outputs
        )
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


@pytest.mark.filterwarnings("ignore")  # of Jupyter's
@pytest.mark.system
def test_the_notebook_runs_and_runs_again_without_repeating_anything(folder):
    first = run(folder)
    again = run(folder)

    assert "trials 20/20" in first[0], "the line of progress ends with the last trial"
    assert first[4].endswith("(4, 24)")
    assert again[4].endswith("(0, 24)")
    assert again[5:] == first[5:]  # trials by hand, and what was exported


def test_the_notebook_is_kept_without_results():
    cells = json.loads(NOTEBOOK.read_text())["cells"]

    assert all(not cell.get("outputs") for cell in cells)
