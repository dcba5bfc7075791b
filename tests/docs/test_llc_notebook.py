"""The notebook on the LLC along training runs, and shows what its text says."""

import json
import shutil

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "tutorial" / "llc.ipynb"
LIMIT_SEC = 180
"""Of a cell; all of them take 20 s of one core."""


def shown(cell):
    return "".join(str(one.get("data", {}).get("text/plain", one.get("text", ""))) for one in cell.outputs)


@pytest.mark.filterwarnings("ignore")  # of Jupyter's
@pytest.mark.system
def test_the_notebook_shows_what_its_text_says(tmp_path):
    shutil.copy(NOTEBOOK, tmp_path)
    notebook = nbformat.read(tmp_path / NOTEBOOK.name, as_version=4)

    NotebookClient(notebook, timeout=LIMIT_SEC, resources={"metadata": {"path": str(tmp_path)}}).execute()

    one, along, observed, sweep = [shown(cell) for cell in notebook.cells if cell.cell_type == "code"][2:]
    assert one.startswith("LLC 3.")
    assert "(ok), 21 parameters" in one
    assert "not_minimum" in along.splitlines()[1]
    assert observed.count("±") == 11
    assert sweep.count("ok") == 2
    assert (tmp_path / "along.png").exists()
    assert (tmp_path / "gamma.png").exists()


def test_the_notebook_is_kept_without_results():
    assert all(not cell.get("outputs") for cell in json.loads(NOTEBOOK.read_text())["cells"])
