"""The notebooks run from the first cell to the last: on a tiny model, and with `-m slow` as they are."""

import re
from pathlib import Path
from typing import Any

import pytest

from accompgen_hf import VocalAccompanimentPipeline
from sound_files import encode, sine
from tiny import tiny_model, tiny_part_model

nbformat = pytest.importorskip("nbformat", reason="notebooks need nbformat (extra `dev`)")
nbclient = pytest.importorskip("nbclient", reason="notebooks need nbclient (extra `dev`)")
pytest.importorskip("ipykernel", reason="notebooks need ipykernel (extra `dev`)")
pytest.importorskip("peft", reason="the notebook trains adapters (extra `train`)")

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples" / "notebooks").glob("*.ipynb"))
QUICKSTART = ROOT / "examples" / "notebooks" / "quickstart.ipynb"


def run_quickstart(folder: Path, monkeypatch: pytest.MonkeyPatch, **parameters: Any) -> list[Any]:
    """Execute its cells in `folder`, with other values behind the cell of parameters; return the code cells."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    notebook = nbformat.read(QUICKSTART, as_version=4)
    [place] = [index for index, cell in enumerate(notebook.cells) if "parameters" in cell.metadata.get("tags", [])]
    lines = [f"{name} = {value!r}" for name, value in parameters.items()]
    notebook.cells.insert(place + 1, nbformat.v4.new_code_cell("\n".join(lines)))
    client = nbclient.NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(folder)}})
    return [cell for cell in client.execute().cells if cell.cell_type == "code"]


def printed(cells: list[Any]) -> str:
    outputs = [output for cell in cells for output in cell.outputs if output.output_type == "stream"]
    return "".join(output.text for output in outputs if output.name == "stdout")


def count_players(cells: list[Any]) -> int:
    """Players of sound in the outputs."""
    outputs = [output for cell in cells for output in cell.outputs if output.output_type == "display_data"]
    return sum("<audio" in output.data.get("text/html", "") for output in outputs)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.name)
def test_a_notebook_is_kept_without_outputs(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)


@pytest.mark.parametrize("has_parts", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["whole", "parts"])
def test_every_cell_of_the_quickstart_runs_on_a_tiny_model(tmp_path, monkeypatch, has_parts):
    model = tiny_part_model() if has_parts else tiny_model()
    VocalAccompanimentPipeline(model=model, device="cpu").save_pretrained(tmp_path / "model")
    (tmp_path / "vocals.wav").write_bytes(encode(sine(2.0, 22_050), 22_050))
    names = {"MODEL": str(tmp_path / "model"), "VOCALS": str(tmp_path / "vocals.wav"), "REGENERATE": (0.4, 0.8)}
    sizes = {"NUM_SONGS": 3, "SONG_DURATION_S": 1.2, "NUM_STEPS": 3}
    cells = run_quickstart(tmp_path, monkeypatch, **names, **sizes)
    said = printed(cells)
    assert ("`parts` must be" in said) != has_parts
    assert "4 s as tokens, rows: {'train': 1, 'validation': 2}" in said
    assert "\n3 steps: " in said
    assert (tmp_path / "accompgen_out" / "quickstart" / "semantic" / "final" / "adapter_config.json").is_file()
    assert count_players(cells) == (7 if has_parts else 4)  # vocals, mix, accompaniment, stems, the other take


@pytest.mark.slow
def test_the_quickstart_runs_as_it_is(tmp_path, monkeypatch):
    cells = run_quickstart(tmp_path, monkeypatch)
    said = printed(cells)
    assert re.search(r"^tempo +\d+", said, re.M)
    assert "made anew: " in said
    assert "\n10 steps: " in said
