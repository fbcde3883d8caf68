"""docs/FILES.md is the contract of every file that programs may read: its tables meet the files of runs."""

import csv
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from PIL import Image

from src.config import SCHEMAS, fields_of
from src.job import run_job
from src.plan import Plan
from src.population.launcher import run_all
from src.predict import predict
from src.run import to_json
from src.sweep.ranking import report
from tests.command_line import ROOT, plan
from tests.made_up_captions import write_captioned

pytestmark = pytest.mark.usefixtures("one_thread")

SCORES = ("bleu1", "bleu2", "bleu3", "bleu4", "bleu4_sentence", "cider_d", "rouge_l")
PLACEHOLDERS = {"<score>": f"({'|'.join(SCORES)})", "<K>": r"\d+"}
SMALL = ("limit_train=40", "limit_val=40", "limit_test=40", "threads=1", "progress=false", "accelerator=cpu")


def contract() -> dict[str, dict[str, tuple[str, bool]]]:
    """Of each table under a `###` heading: field -> its type, and whether it is always there."""
    tables: dict[str, dict[str, tuple[str, bool]]] = {}
    heading = ""
    for line in (ROOT / "docs" / "FILES.md").read_text().splitlines():
        if line.startswith("#"):
            heading = line.removeprefix("### ") if line.startswith("### ") else ""
        elif heading and line.startswith("| `"):
            field, kind, _, there, _ = (cell.strip() for cell in line.strip("|").split("|"))
            tables.setdefault(heading, {})[field.strip("`")] = (kind, there == "always")
    return tables


CONTRACT = contract()


def is_of(kind: str, value: Any) -> bool:
    """Whether a value is of a type of the contract."""
    if kind.endswith(" or null"):
        return value is None or is_of(kind.removesuffix(" or null"), value)
    if " or " in kind:
        return any(is_of(one, value) for one in kind.split(" or "))
    if kind.startswith("list of "):
        return isinstance(value, list) and all(is_of(kind.removeprefix("list of "), item) for item in value)
    if isinstance(value, bool):
        return kind == "boolean"
    python = {"text": str, "integer": int, "number": (int, float), "object": Mapping, "boolean": bool}
    return isinstance(value, python[kind])  # type: ignore[arg-type]


def holds(content: Mapping[str, Any], *tables: str) -> None:
    """Assert that an object has the fields of the tables, of their types, and no others."""
    promised = {field: rule for table in tables for field, rule in CONTRACT[table].items()}
    patterns = {}
    for field, rule in promised.items():
        pattern = re.escape(field)
        for sign, meaning in PLACEHOLDERS.items():
            pattern = pattern.replace(re.escape(sign), meaning)
        patterns[field] = (re.compile(pattern), *rule)
    seen = set()
    for key, value in content.items():
        fitting = [field for field, (pattern, _, _) in patterns.items() if pattern.fullmatch(key)]
        assert fitting, f"{key} is in no table of {tables}"
        wrong = [patterns[field][1] for field in fitting if not is_of(patterns[field][1], value)]
        assert not wrong, f"{key} is {value!r}, not {wrong}"
        seen |= set(fitting)
    missing = [field for field, (_, always) in promised.items() if always and field not in seen]
    assert not missing, f"{missing} of {tables} is not there"


def cells(path: Path) -> list[dict[str, Any]]:
    """A CSV's rows, cells as what they say: null, integer, number or text."""

    def read(text: str) -> Any:
        if not text:
            return None
        for kind in (int, float):
            try:
                return kind(text)
            except ValueError:
                continue
        return text

    data = path.read_bytes()
    assert b"\r" not in data
    with path.open(encoding="utf-8", newline="") as file:
        return [{name: read(text) for name, text in row.items()} for row in csv.DictReader(file)]


def strict(path: Path) -> Any:
    """JSON without NaN."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{path} holds {constant}")

    return json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)


def train(*overrides: str) -> Plan:
    asked = plan(*SMALL, *overrides)
    threads = torch.get_num_threads()
    try:
        run_job(asked.cfg, asked.run, print, show_bar=False)
    finally:
        torch.set_num_threads(threads)
    return asked


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("out")


@pytest.fixture(scope="module")
def classified(on_idx: tuple[str, ...], output: Path) -> dict[str, Plan]:
    """A run that is done, one in parts, one that diverged, one that failed, and two of a population."""
    common = (*on_idx, "epochs=1", f"output_dir={output}")
    plans = {
        "done": train(*common),
        "parts": train(*common, "batch_parts=2", "seed=1"),
        "diverged": train(*common, "lr=1e30"),
    }
    blocked = plan(*SMALL, *common, "lr=0.5")
    blocked.run.folder.mkdir(parents=True)
    (blocked.run.folder / "checkpoints").write_text("in the way")
    plans["failed"] = train(*common, "lr=0.5")
    together = [plan(*SMALL, *common, f"seed={seed}") for seed in (2, 3)]
    run_all(together)
    return {**plans, "population": together[0]}


@pytest.fixture(scope="module")
def captioned(output: Path, tmp_path_factory: pytest.TempPathFactory) -> Plan:
    root = tmp_path_factory.mktemp("squares")
    return train(
        *(
            "task=caption",
            "data=karpathy",
            f"data.root={write_captioned(root / 'data', 4, 1, 1)}",
            "epochs=1",
        ),
        *("encoder.name=tiny", "encoder.size=64", "attention=true", "compare_beam=3", "schedule=cosine"),
        *(f"encoder.cache={root / 'cache'}", f"output_dir={output}"),
    )


def test_the_contract_has_a_table_for_every_file() -> None:
    assert len(CONTRACT) == 11
    assert sum(map(len, CONTRACT.values())) > 110
    assert {kind for table in CONTRACT.values() for kind, _ in table.values()} <= {
        *("text", "integer", "number", "boolean", "object"),
        *(
            "text or null",
            "integer or null",
            "number or null",
            "text or integer",
            "list of object",
            "list of number",
        ),
    }


@pytest.mark.parametrize("name", ["done", "parts", "diverged", "failed", "population"])
def test_a_classifiers_files(name: str, classified: dict[str, Plan]) -> None:
    run = classified[name].run
    results = strict(run.results_file)
    assert results["status"] == {"diverged": "diverged", "failed": "failed"}.get(name, "done")
    if name == "failed":  # it did not begin: what was measured is left out
        results = {**dict.fromkeys(measured("classify")), **results}
    holds(results, "results.json of every run", "results.json of task=classify")
    if results["status"] == "done":
        nulls = [key for key, value in results.items() if value is None]
        assert nulls == ["cause"]
        assert ("launcher" in results, "batch_parts" in results) == (name == "population", name == "parts")
        for checkpoint in (run.last, run.best):
            holds(
                torch.load(checkpoint, weights_only=True), "checkpoints/last.ckpt and checkpoints/best.ckpt"
            )
        for row in cells(run.metrics_file):
            holds(row, "metrics.csv of task=classify")
    if name != "failed":
        holds(strict(run.identity_file), "identity.json")
    check_config(run.config_file, "classify")


def measured(task: str) -> list[str]:
    """Fields that may be null in a run that measured nothing."""
    tables = ("results.json of every run", f"results.json of task={task}")
    return [
        field for table in tables for field, (kind, _) in CONTRACT[table].items() if kind.endswith("null")
    ]


def check_config(path: Path, task: str) -> None:
    """Assert that config.yaml holds every setting, of its type, resolved."""
    text = path.read_text()
    assert "${" not in text
    config = OmegaConf.create(text)
    given = OmegaConf.to_container(OmegaConf.merge(OmegaConf.structured(SCHEMAS[task]), config))
    assert isinstance(given, dict)
    assert set(flat(given)) == set(fields_of(SCHEMAS[task]))
    assert not [name for name, value in flat(given).items() if value == "???"]


def flat(tree: Mapping[Any, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in tree.items():
        nested = isinstance(value, dict)
        found.update(flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value})
    return found


def test_a_captioners_files(captioned: Plan) -> None:
    run = captioned.run
    results = strict(run.results_file)
    holds(results, "results.json of every run", "results.json of task=caption")
    assert results["status"] == "done"
    for score in SCORES:
        for key in (f"test_{score}", f"test_beam3_{score}", f"test_{score}_best_val"):
            # CIDEr-D weighs words by how few images have them: of a single image it is undefined.
            assert isinstance(results[key], float) != (score == "cider_d"), key
    holds(strict(run.identity_file), "identity.json")
    for row in cells(run.metrics_file):
        holds(row, "metrics.csv of task=caption")
    written = strict(run.folder / "captions.json")
    assert len(written) == 1
    for entry in written:
        holds(entry, "captions.json")
    holds(torch.load(run.best, weights_only=True), "checkpoints/last.ckpt and checkpoints/best.ckpt")
    check_config(run.config_file, "caption")
    cache = Path(captioned.cfg.encoder.cache)
    (stored,) = cache.glob("images-64-*.npy")
    array = np.load(stored, mmap_mode="r")
    assert (array.dtype, array.shape) == (np.uint8, (6, 3, 64, 64))
    looked_at = strict(cache / "looked_at.json")
    assert len(looked_at) == 6
    assert all(is_of("list of integer", stamp) and len(stamp) == 3 for stamp in looked_at.values())


def test_a_run_leaves_the_files_that_are_promised(classified: dict[str, Plan], captioned: Plan) -> None:
    text = (ROOT / "docs" / "FILES.md").read_text().split("### identity.json")[0]
    promised = re.findall(r"`([\w./*]+)`", text.split("| file |")[1])
    for asked in (classified["done"], captioned):
        folder = asked.run.folder
        files = {path for path in folder.rglob("*") if path.is_file()}
        unknown = {path for path in files if not any(path in set(folder.glob(name)) for name in promised)}
        assert not unknown


def test_a_sweeps_ranking(classified: dict[str, Plan], captioned: Plan, tmp_path: Path) -> None:
    for asked, task in ((classified["done"], "classify"), (captioned, "caption")):
        sweep = Path(shutil.copytree(asked.run.folder.parent, tmp_path / task))
        report(sweep)
        rows = cells(sweep / "ranking.csv")
        extra = {"seed"} if task == "classify" else set()  # in which these runs differ
        for row in rows:
            own = {name: value for name, value in row.items() if name not in extra}
            holds(own, f"ranking.csv of task={task}")
        assert len(rows) == len(list(sweep.glob("*/config.yaml")))
        assert (sweep / "ranking.md").exists()
        assert list((sweep / "plots").glob("*.png"))


def test_labels(classified: dict[str, Plan], tmp_path: Path) -> None:
    Image.fromarray(np.zeros((28, 28), np.uint8)).save(tmp_path / "a.png")
    checkpoint, out = classified["done"].run.best, tmp_path / "labels"
    given = (f"checkpoint={checkpoint}", f"inputs={tmp_path / 'a.png'}", f"output={out}", "accelerator=cpu")
    assert predict(given) == 0
    (row,) = cells(out / "labels.csv")
    # The made-up classes have numbers for names.
    names = {key: str(value) for key, value in row.items() if key.startswith("class")}
    holds({**row, **names}, "labels.csv")
    assert sorted(path.name for path in out.iterdir()) == ["gallery.html", "labels.csv"]


def test_the_check_finds_what_differs() -> None:
    good = {"image_id": "a.png", "caption": "a"}
    holds(good, "captions.json")
    for wrong in ({**good, "score": 1.0}, {"image_id": "a.png"}, {**good, "caption": None}):
        with pytest.raises(AssertionError):
            holds(wrong, "captions.json")
    assert to_json({"x": float("nan")}) == '{\n  "x": null\n}\n'
