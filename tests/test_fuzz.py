"""Made-up inputs to everything that reads from outside, a few; `python -m tests.fuzz` puts 100,000."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz import guard
from tests.fuzz.all_targets import TARGETS, warm_up
from tests.fuzz.campaign import Campaign, first_inputs
from tests.fuzz.target import Target
from tests.fuzz.worker import judged, made, sandbox

pytestmark = pytest.mark.filterwarnings("ignore")  # Pillow on damaged files
QUICK = [name for name in TARGETS if TARGETS[name].every < 100]
ROUNDS = {"train": 8, "sweep folder": 8, "checkpoint": 20}  # of each other target 40


@pytest.fixture(scope="module", autouse=True)
def _warm() -> None:
    for name in QUICK:
        warm_up(TARGETS[name])


def without_fault(target: Target, data: bytes) -> str:
    with sandbox() as folder:
        found = judged(target, data, Path(folder))
    assert not found["fault"], f"{data[:2000]!r}\n{found['fault']}"
    return str(found["outcome"])


@pytest.mark.parametrize("name", QUICK)
def test_spoilt_inputs_end_in_a_sentence(name: str) -> None:
    outcomes = {
        without_fault(TARGETS[name], made(TARGETS[name], 0, number)) for number in range(ROUNDS.get(name, 40))
    }
    assert len(outcomes) >= 3  # the inputs reach further than the first check


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
SENTENCE = st.fixed_dictionaries(
    {}, optional={"tokens": st.lists(st.text(max_size=4), max_size=3) | JSON, "raw": st.text() | JSON}
)
ENTRY = st.fixed_dictionaries(
    {},
    optional={
        "filename": st.text(st.characters(), max_size=8) | JSON,
        "filepath": st.text(max_size=4) | JSON,
        "split": st.sampled_from(("train", "val", "test")) | JSON,
        "sentences": st.lists(SENTENCE, max_size=2) | JSON,
        "objects": st.lists(
            st.fixed_dictionaries({"words": JSON, "box": st.lists(st.floats(0, 1), max_size=5) | JSON}),
            max_size=1,
        ),
        "class": JSON,
    },
)
FEW = settings(max_examples=40, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@FEW
@given(st.fixed_dictionaries({"images": st.lists(ENTRY, max_size=3) | JSON}) | JSON)
def test_captions_of_any_json(content: Any) -> None:
    without_fault(TARGETS["karpathy"], json.dumps(content).encode())


@FEW
@given(st.sampled_from(("image", "checkpoint", "layer file")), st.binary(max_size=200))
def test_any_bytes(name: str, data: bytes) -> None:
    without_fault(TARGETS[name], data)


COMMANDS = ("predict", "report", "reproduce", "filters")
WORDS = st.text(st.characters(exclude_characters="\0~", exclude_categories=["Cs"]), max_size=12)


@FEW
@given(st.sampled_from(COMMANDS), st.lists(WORDS | st.builds("{}={}".format, WORDS, WORDS), max_size=4))
def test_any_words(name: str, words: list[str]) -> None:
    words = [word.replace("/", "_") for word in words]  # not the machine's own folders
    without_fault(TARGETS[name], "\0".join(words).encode())


def test_the_same_seed_makes_the_same_inputs() -> None:
    for target, data in first_inputs(list(TARGETS.values()), 3, len(TARGETS)):
        assert made(target, 3, 0) == data
    target = TARGETS["image"]
    assert len({made(target, 0, number) for number in range(50)}) > 40
    assert made(target, 0, 1) != made(target, 1, 1)


class Planted:
    """What a target may do wrong, to see that it is caught."""

    def __init__(self, outside: Path) -> None:
        self.outside = outside

    def traceback(self) -> str:
        raise KeyError("a bug")

    def writes(self) -> str:
        (self.outside / "file").touch()
        return "read"

    def starts(self) -> str:
        subprocess.run(["true"], check=True)
        return "read"

    def spins(self) -> str:
        while True:
            pass

    def waits(self) -> str:
        time.sleep(60)
        return "read"

    def mumbles(self) -> str:
        return guard.told("two\nlines")


@pytest.mark.parametrize(
    ("wrong", "said"),
    {
        "traceback": "KeyError",
        "writes": "reached out of its folder: open",
        "starts": "reached out of its folder: subprocess",
        "spins": "CPU beyond its limit",
        "waits": "waiting beyond its limit",
        "mumbles": "a message with",
    }.items(),
)
def test_faults_are_caught(tmp_path: Path, wrong: str, said: str) -> None:
    planted = getattr(Planted(tmp_path), wrong)
    with sandbox() as folder:
        limits = (5.0, 0.3) if wrong == "waits" else (0.3, 60.0)

        def put() -> str:
            with guard.timed(*limits), guard.watched(Path(folder)):
                return planted()

        outcome, fault = guard.fault_of(put)
    assert outcome.startswith("FAULT")
    assert said in fault


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the peak cannot be reset here")
def test_memory_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "GROWTH", 30 * 2**20)
    target = Target("t", lambda random: b"", lambda data, folder: str(len(bytearray(b"x" * 60 * 2**20))))
    with sandbox() as folder:
        assert str(judged(target, b"", Path(folder))["outcome"]).startswith("FAULT took")
        monkeypatch.setattr(guard, "GROWTH", 300 * 2**20)
        assert not judged(target, b"", Path(folder))["fault"]


def test_a_worker_that_dies_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A worker of two lines in place of the real one: it gives an outcome an input and dies at the third.
    script = tmp_path / "worker.py"
    script.write_text(
        "import sys, os\nfirst, last = int(sys.argv[4]), int(sys.argv[5])\nprint('ready')\n"
        "for number in range(first, last):\n"
        "    if number == 2: sys.stderr.write('last words'); sys.stdout.flush(); os.abort()\n"
        '    print(\'{"outcome": "read", "seconds": 0.5, "grown": 9, "fault": ""}\', flush=True)\n'
    )
    popen = subprocess.Popen

    def started(command: tuple[str, ...], **options: Any) -> Any:
        return popen([sys.executable, str(script), *command[1:]], **options)

    monkeypatch.setattr(subprocess, "Popen", started)
    said: list[str] = []
    target = Target("t", lambda random: random.randbytes(4), lambda data, folder: "read")
    campaign = Campaign([target], 7, 6, tmp_path / "out", time.monotonic() + 60, said.append)
    assert campaign.run() == 6
    tally = campaign.tallies["t"]
    assert (tally.inputs, tally.faults, tally.outcomes["read"]) == (6, 1, 5)
    saved = tmp_path / "out" / "t-7-2"
    assert saved.with_suffix(".input").read_bytes() == made(target, 7, 2) == Random("7/t/2").randbytes(4)
    assert "last words" in saved.with_suffix(".txt").read_text()
    assert "| t | 6 | 2 | 0.50 | 0 | 1 |" in campaign.table()
