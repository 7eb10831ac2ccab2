"""The notebooks run from the first cell to the last, hold no outputs, and open in Colab."""

import os
import re
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def test_there_are_seven():
    assert [path.name[:2] for path in NOTEBOOKS] == [f"0{number}" for number in range(1, 8)]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_valid_cleared_and_opens_in_colab(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            assert cell.outputs == [] and cell.execution_count is None
    first, install = notebook.cells[0].source, notebook.cells[1].source
    assert f"colab.research.google.com/github/darkcovid/darkcovid/blob/main/notebooks/{path.name}" in first
    assert "never a diagnosis" in first and "google.colab" in install and "%pip install" in install


def small(source):
    """A third of the patients and two epochs: it is the cells that are tried here, not what networks learn in them."""
    source = re.sub(r'(patients": )(\d+)', lambda found: f"{found[1]}{int(found[2]) // 3}", source)
    source = re.sub(r'(epochs": )\d+', r"\g<1>2", source)
    return re.sub(r"(fit_one_cycle|fine_tune)\(\d+", r"\1(2", source)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = small(cell.source)
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}).execute()
    streams = [output for cell in notebook.cells for output in cell.get("outputs", []) if output.get("name") == "stderr"]
    assert not [output.text for output in streams if "warning" in output.text.lower()]
