"""`src.reproduce` with stand-in commands: what runs, what stops it, what carries on, and the time left."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from src.reproduce import ReproduceSettings, Stage, read_command, recipe, reproduce, shown, stages, trained
from src.reproduce_time import Work, left, pace, spoken
from tests.command_line import ROOT
from tests.sweep_folders import make_caption_run, make_run

NO_WORK = Work(Path(), 0, 0, 0)


def stand_in(folder: Path, name: str, status: int = 0) -> tuple[str, ...]:
    """A command that notes that it ran, once more each time."""
    code = f"import sys; open({str(folder / name)!r}, 'a').write('x'); sys.exit({status})"
    return (sys.executable, "-c", code)


def ran(folder: Path) -> dict[str, int]:
    return {path.name: len(path.read_text()) for path in folder.iterdir()}


def test_stages_run_in_order_and_show_what_they_made(tmp_path: Path) -> None:
    said: list[str] = []
    first = Stage("sweep", stand_in(tmp_path, "a"), NO_WORK, after=stand_in(tmp_path, "table"))
    assert reproduce([first, Stage("report", stand_in(tmp_path, "b"), NO_WORK)], said.append) == 0
    assert ran(tmp_path) == {"a": 1, "table": 1, "b": 1}
    heads = [line for line in said if line.startswith("==")]
    assert heads == ["== 1 of 2: sweep", "== 2 of 2: report"]
    assert sum(" left; " in line for line in said) == 2


def test_a_stage_that_fails_stops_at_once_with_its_status(tmp_path: Path) -> None:
    said: list[str] = []
    found = [
        Stage("sweep", stand_in(tmp_path, "a", 1), NO_WORK, trained),
        Stage("b", stand_in(tmp_path, "b"), NO_WORK),
    ]
    assert reproduce(found, said.append) == 1
    assert ran(tmp_path) == {"a": 1}
    assert any(line.startswith("Stopped: sweep ended with status 1: python -c") for line in said)
    # Mended, the same command carries on.
    mended = [Stage("sweep", stand_in(tmp_path, "a"), NO_WORK, trained), found[1]]
    assert reproduce(mended, said.append) == 0
    assert ran(tmp_path) == {"a": 2, "b": 1}


@pytest.mark.parametrize(("name", "status"), [("sweep", 3), ("theory", 1)])
def test_findings_do_not_stop_it(tmp_path: Path, name: str, status: int) -> None:
    """A run that diverged would diverge again; a statement that does not hold stands on the page."""
    (real,) = (stage for stage in stages(ReproduceSettings()) if stage.name == name)
    said: list[str] = []
    found = [
        Stage(name, stand_in(tmp_path, "a", status), NO_WORK, real.goes_on),
        Stage("report", stand_in(tmp_path, "b"), NO_WORK),
    ]
    assert reproduce(found, said.append) == status
    assert ran(tmp_path) == {"a": 1, "b": 1}
    assert said[-1].startswith(f"To look at: {name} ended with status {status}")


def test_a_stage_that_was_interrupted_interrupts_all(tmp_path: Path) -> None:
    found = [Stage("a", stand_in(tmp_path, "a", 130), NO_WORK), Stage("b", stand_in(tmp_path, "b"), NO_WORK)]
    with pytest.raises(KeyboardInterrupt):
        reproduce(found, print)
    assert ran(tmp_path) == {"a": 1}


@pytest.mark.parametrize(
    ("number", "to_all", "status"),
    [(signal.SIGINT, True, 130), (signal.SIGINT, False, 130), (signal.SIGTERM, False, 143)],
)
def test_a_signal_ends_the_stage_too(
    tmp_path: Path, number: signal.Signals, to_all: bool, status: int
) -> None:
    """On a terminal Ctrl-C reaches all; `kill` reaches this process alone."""
    stage = (
        "import pathlib, sys, time\n"
        "try:\n    pathlib.Path(sys.argv[1], 'began').touch(); time.sleep(60)\n"
        "except KeyboardInterrupt:\n    pathlib.Path(sys.argv[1], 'ended').touch(); sys.exit(130)\n"
    )
    code = (
        "import sys; import src.reproduce as r\n"
        f"r.GRACE_S = 1.0\nr.stages = lambda _: [r.Stage('a', (sys.executable, '-c', {stage!r}, "
        f"{str(tmp_path)!r}), r.Work(r.Path(), 0, 0, 0))]\nsys.argv = ['reproduce', 'epochs=1']\nr.main()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True,
        # A background job of a shell, and what it starts, would ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509
    )  # fmt: skip
    until = time.monotonic() + 60
    while not (tmp_path / "began").exists() and time.monotonic() < until and process.poll() is None:
        time.sleep(0.02)
    (os.killpg if to_all else os.kill)(process.pid, number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == status, err
    assert (tmp_path / "ended").exists()
    if status == 130:
        assert "python -m src.reproduce epochs=1" in err


def test_commands_are_those_of_the_makefile() -> None:
    by_name = {stage.name: shown(stage.command) for stage in stages(ReproduceSettings())}
    assert list(by_name) == ["data", "sweep", "captions on scenes", "theory", "report"]
    dry = subprocess.run(["make", "-n", "sweep"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert by_name["sweep"].removeprefix("python ") in " ".join(dry.split())
    dry = subprocess.run(
        ["make", "-n", "caption"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert by_name["captions on scenes"].removeprefix("python ") in dry
    assert by_name["report"] == (
        "python -m src.report sweep=outputs/fashion_mnist captions=outputs/scenes out=outputs/report"
    )


def test_quick_look_has_folders_of_its_own(tmp_path: Path) -> None:
    found = {stage.name: stage for stage in stages(ReproduceSettings(epochs=1, ucm=str(tmp_path)))}
    assert "name=fashion_mnist-epochs1" in found["sweep"].command
    assert {"epochs=1", "name=scenes-epochs1"} <= set(found["captions on scenes"].command)
    assert f"data.root={tmp_path}" in found["captions on ucm"].command
    report = found["report"].command
    assert "captions=outputs/scenes-epochs1,outputs/captions_ucm-epochs1" in report
    assert {f"aerial={tmp_path}", "out=outputs/report-epochs1"} <= set(report)
    longer = {stage.name: stage for stage in stages(ReproduceSettings(epochs=20))}
    assert not any(word.startswith("epochs=") for word in longer["captions on scenes"].command)


def test_recipes_are_counted_from_their_files() -> None:
    assert recipe("captions") == (2, 10)
    assert recipe("captions_ucm") == (6, 6)


def test_time_left_by_the_runs_of_the_folder(tmp_path: Path) -> None:
    """24 runs of 15 epochs, 61.5 s each: one done, one at epoch 5, on two workers."""
    work = Work(tmp_path, 24, 15, epoch_s=30, fixed_s=1000)
    make_run(tmp_path, 0.1, epochs=15)
    make_run(tmp_path, 0.2, epochs=5, results=False)
    assert work.shown() == "1 of 24 runs and 20 of 360 epochs are done"
    assert left([work], workers=2) == pytest.approx(340 * 61.5 / 2)
    assert pace([work]) == pytest.approx(61.5 / 30)


def test_time_left_by_other_folders_of_this_machine(tmp_path: Path) -> None:
    """The captions took half of the reference's time, so the sweep will, too."""
    for attention in (False, True):
        make_caption_run(tmp_path / "scenes", attention, epochs=6)
    captions = Work(tmp_path / "scenes", 2, 6, epoch_s=25, fixed_s=90)  # 12.5 s in the files
    sweep = Work(tmp_path / "sweep", 24, 15, epoch_s=30, fixed_s=60)
    assert captions.epochs_left() == 0
    assert left([sweep], others=[captions], workers=4) == pytest.approx(0.5 * (60 + 360 * 30 / 4))
    assert left([sweep], workers=4) == pytest.approx(60 + 360 * 30 / 4)


def test_finished_and_unreadable_runs(tmp_path: Path) -> None:
    """A run that diverged is final; one that failed, or cannot be read, is trained again."""
    work = Work(tmp_path, 4, 15, epoch_s=30)
    make_run(tmp_path, 0.1, epochs=3, status="diverged", val_acc=None, train_loss=None)
    make_run(tmp_path, 0.2, epochs=15, status="failed")
    broken = make_run(tmp_path, 0.3, epochs=15)
    (broken / "results.json").write_text("{")
    assert work.finished() == 1
    assert work.epochs_left() == 60 - 15 - 15


@pytest.mark.parametrize(
    ("seconds", "words"), [(12, "less than a minute"), (300, "about 5 min"), (5700, "about 1 h 35 min")]
)
def test_time_in_words(seconds: float, words: str) -> None:
    assert spoken(seconds) == words


def test_mistakes_are_named_all_at_once(tmp_path: Path) -> None:
    _, mistakes = read_command(["epochs=0", "epoch=3", f"ucm={tmp_path}", "sydney=/nowhere"])
    assert len([m for m in mistakes if "recipe" not in m]) == 4
    assert any("dataset.json" in mistake for mistake in mistakes)
