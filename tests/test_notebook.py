"""notebooks/tour.ipynb runs from top to bottom, and is kept without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import ROOT, torch_threads


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = json.loads((ROOT / "notebooks" / "tour.ipynb").read_text())
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    monkeypatch.setenv("TOUR_OUTPUT", str(tmp_path))
    monkeypatch.chdir(ROOT / "notebooks")
    shown: list[Any] = []
    names: dict[str, Any] = {"display": shown.append}
    with torch_threads():
        for cell in code:
            exec("".join(cell["source"]), names)
    assert len(shown) == 3
    assert len(list((tmp_path / "sweep").glob("*/results.json"))) == 4


def test_the_notebook_holds_no_outputs() -> None:
    notebook = json.loads((ROOT / "notebooks" / "tour.ipynb").read_text())
    for cell in notebook["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
