"""The notebook is committed without outputs, and runs from its first cell to its last: on tiny networks and a CPU."""

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, TINY

NOTEBOOK = ROOT / "examples" / "quickstart.ipynb"
SETTINGS = "settings = {}"
SHOW_REQUIREMENTS = "print(requirements)"


def test_the_notebook_is_committed_without_outputs() -> None:
    for cell in _read()["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            assert cell["execution_count"] is None


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_notebook_runs_on_a_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")  # It compiles more than it runs.
    nbclient = pytest.importorskip("nbclient", reason="the notebook needs requirements-docs.txt")
    nbformat = pytest.importorskip("nbformat")
    for name in ("sharingan_jax", "configs", "requirements.txt"):
        (tmp_path / name).symlink_to(ROOT / name)
    notebook = nbformat.reads(json.dumps(_shrunk()), as_version=4)
    nbclient.NotebookClient(notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": tmp_path}}).execute()

    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 4  # real_vs_fake, two grids, the curves
    for run in ("notebook", "notebook_own"):
        assert (tmp_path / "runs" / run / "real_vs_fake.png").is_file()
    (shown,) = [cell for cell in notebook.cells if cell.source == SHOW_REQUIREMENTS]
    requirements = shown.outputs[0].text
    assert "tensorflow-datasets" in requirements
    assert "tensorflow-cpu" not in requirements  # There is a TensorFlow here, so it stays the only one.


def _read() -> dict[str, Any]:
    notebook: dict[str, Any] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    return notebook


def _shrunk() -> dict[str, Any]:
    """Return the notebook with tiny networks, and with a cell at its end that shows the requirements."""
    words = [*TINY, "--config.train.batch_size=10", "--config.train.steps=4", "--config.sample.every=2"]
    tiny = dict(word.removeprefix("--config.").split("=") for word in words)
    notebook = _read()
    (cell,) = [cell for cell in notebook["cells"] if any(line.startswith(SETTINGS) for line in cell["source"])]
    cell["source"] = [line.replace(SETTINGS, f"settings = {tiny!r}") for line in cell["source"]]
    show = {"cell_type": "code", "id": "requirements", "metadata": {}, "execution_count": None, "outputs": []}
    notebook["cells"].append({**show, "source": [SHOW_REQUIREMENTS]})
    return notebook
