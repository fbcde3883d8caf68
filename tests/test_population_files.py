"""The files of a population's runs: those of runs that train apart, also after an interruption."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from src.checkpoints import read_checkpoint
from src.classification.module import Classifier
from src.job import run_job
from src.plan import Plan
from src.population import group as group_module
from src.population.files import stack_of
from src.population.launcher import grouped, run_all
from src.population.network import scores
from src.population.training import Population
from tests.command_line import plan, rows_of, same_numbers, without_times

pytestmark = pytest.mark.usefixtures("one_thread")

EPOCHS = 3
# In double precision, for what is mere rounding in single precision grows to 1 % within 80 steps. Lightning
# resumes through single precision, so that one rounding is single even here.
SETTINGS = (
    f"epochs={EPOCHS}",
    "limit_train=60",
    "limit_val=40",
    "limit_test=40",
    "threads=1",
    "progress=false",
    "precision=64-true",
)
JOBS = {
    "plain": ("lr=0.1", "dropout=0.0"),
    "dropping": ("lr=0.05", "dropout=0.5", "seed=7"),
    "decaying": ("lr=0.02", "dropout=0.1", "momentum=0.9", "weight_decay=0.01"),
    "diverging": ("lr=1e80", "dropout=0.1"),
}


def plans_in(output: Path, on_idx: tuple[str, ...], *names: str) -> list[Plan]:
    return [plan(*on_idx, *SETTINGS, *JOBS[name], f"output_dir={output}") for name in names or JOBS]


def train_here(asked: Plan) -> dict[str, Any]:
    return run_job(asked.cfg, asked.run, pytest.fail, show_bar=False)


@pytest.fixture(scope="module")
def apart(on_idx: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    plans = plans_in(tmp_path_factory.mktemp("apart"), on_idx)
    for asked in plans:
        train_here(asked)
    return dict(zip(JOBS, plans, strict=True))


@pytest.fixture(scope="module")
def together(on_idx: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    plans = plans_in(tmp_path_factory.mktemp("together"), on_idx)
    results = run_all(plans)
    assert [found["status"] for found in results] == ["done", "done", "done", "diverged"]
    return dict(zip(JOBS, plans, strict=True))


def alike(ours: Any, expected: Any, where: str = "") -> None:
    """Assert that two nested structures are the same, numbers and tensors up to rounding."""
    assert type(ours) is type(expected), where
    if isinstance(ours, dict):
        assert ours.keys() == expected.keys(), where
        for key in ours:
            if key not in ("seconds", "images_per_second"):
                alike(ours[key], expected[key], f"{where}/{key}")
    elif isinstance(ours, list | tuple):
        assert len(ours) == len(expected), where
        for index, (one, other) in enumerate(zip(ours, expected, strict=True)):
            alike(one, other, f"{where}/{index}")
    elif isinstance(ours, Tensor):
        assert (ours.dtype, ours.stride()) == (expected.dtype, expected.stride()), where
        torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-7)
    elif isinstance(ours, float):
        assert ours == pytest.approx(expected, rel=1e-5), where
    else:
        assert ours == expected, where


def results_of(asked: Plan) -> dict[str, Any]:
    return without_times(json.loads(asked.run.results_file.read_text()))


def same_but_for_rounding(ours: Plan, expected: Plan) -> None:
    """Assert that results and checkpoints are alike; who trained a run may differ."""
    results, others = results_of(ours), results_of(expected)
    results.pop("launcher", None), others.pop("launcher", None)
    alike(results, others)
    assert ours.run.best.exists() == expected.run.best.exists()
    for path, other in ((ours.run.last, expected.run.last), (ours.run.best, expected.run.best)):
        if other.exists():
            alike(read_checkpoint(path), read_checkpoint(other))


def events_of(asked: Plan) -> dict[str, Any]:
    """TensorBoard's tags and the epochs and values of its curves."""
    events = EventAccumulator(str(asked.run.folder), size_guidance={"scalars": 0})
    events.Reload()
    curves = {
        tag: [(point.step, None if "speed" in tag else point.value) for point in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }
    return {"curves": curves, "images": sorted(events.Tags()["images"])}


@pytest.mark.parametrize("name", JOBS)
def test_a_members_folder_is_that_of_a_separate_run(
    name: str, apart: dict[str, Plan], together: dict[str, Plan]
) -> None:
    ours, expected = together[name], apart[name]
    files, others = (
        {
            path.relative_to(each.run.folder).as_posix()
            for path in each.run.folder.rglob("*")
            if path.is_file()
        }
        for each in (ours, expected)
    )
    assert {file for file in files if "tfevents" not in file} == {
        file for file in others if "tfevents" not in file
    }
    assert results_of(ours)["launcher"] == "population"
    same_but_for_rounding(ours, expected)
    alike(events_of(ours), events_of(expected))
    assert ours.run.identity_file.read_text() == expected.run.identity_file.read_text()
    for row, other in zip(rows_of(ours.run.folder), rows_of(expected.run.folder), strict=True):
        alike(
            {key: float(text) for key, text in row.items()}, {key: float(text) for key, text in other.items()}
        )


def test_a_checkpoint_opens_as_a_classifier_with_the_members_outputs(
    together: dict[str, Plan],
) -> None:
    images = torch.randint(0, 256, (20, 1, 28, 28), dtype=torch.uint8)
    names = ("plain", "dropping", "decaying")
    modules = [
        Classifier.load_from_checkpoint(together[name].run.last, map_location="cpu", weights_only=True)
        .double()
        .eval()
        for name in names
    ]
    stack = stack_of([dict(module.network.named_parameters()) for module in modules], torch.device("cpu"))
    with torch.no_grad():
        ours = scores(stack, images.double() / 256)
        for module, out in zip(modules, ours, strict=True):
            torch.testing.assert_close(module(images), out, rtol=1e-9, atol=1e-12)


def stop_in_epoch(epoch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C in the population's training of that epoch, counted from 0."""
    train_epoch = Population.train_epoch

    def stopped(self: Population, *data: Any, **how: Any) -> Iterator[list[list[float]]]:
        losses = train_epoch(self, *data, **how)
        yield next(losses)
        if how["epoch"] == epoch:
            raise KeyboardInterrupt
        yield from losses

    monkeypatch.setattr(Population, "train_epoch", stopped)


def test_a_population_goes_on_where_it_stopped_with_the_same_numbers(
    together: dict[str, Plan],
    on_idx: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = tuple(JOBS)
    plans = plans_in(tmp_path, on_idx)
    with monkeypatch.context() as patched:
        stop_in_epoch(1, patched)
        with pytest.raises(SystemExit) as ended:
            run_all(plans)
    assert ended.value.code == 130
    assert "Stopped. 1 of 4 runs are finished; the same command carries on." in capsys.readouterr().err
    assert [asked.epochs_done() for asked in plans] == [1, 1, 1, 0]
    run_all(plans)
    for name in names:
        if name != "diverging":
            same_numbers(plans[names.index(name)].run.folder, together[name].run.folder)


def test_a_member_that_is_left_over_goes_on_as_a_population(on_idx: tuple[str, ...], tmp_path: Path) -> None:
    plans = plans_in(tmp_path / "killed", on_idx, "plain", "dropping")
    run_all(plans)
    whole = plans_in(tmp_path / "whole", on_idx, "plain", "dropping")
    run_all(whole)
    plans[1].run.results_file.unlink()  # as a kill between the two leaves it
    run_all(plans)
    assert results_of(plans[1])["launcher"] == "population"
    same_numbers(plans[1].run.folder, whole[1].run.folder)


def test_members_at_different_epochs_wait_for_each_other(
    together: dict[str, Plan], on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = plans_in(tmp_path, on_idx, "plain", "dropping", "decaying")
    with monkeypatch.context() as patched:
        stop_in_epoch(2, patched)
        with pytest.raises(SystemExit):
            run_all([first, others[0]])
    sizes = []
    train_epoch = Population.train_epoch

    def noted(self: Population, *data: Any, **how: Any) -> Iterator[list[list[float]]]:
        sizes.append((how["epoch"], len(self)))
        return train_epoch(self, *data, **how)

    monkeypatch.setattr(Population, "train_epoch", noted)
    run_all([first, *others])
    assert sizes == [(0, 1), (1, 1), (2, 3)]
    for name, asked in zip(("plain", "dropping", "decaying"), (first, *others), strict=True):
        same_but_for_rounding(asked, together[name])


@pytest.mark.parametrize("begins", ["population", "apart"])
def test_a_run_may_change_sides(
    begins: str,
    apart: dict[str, Plan],
    on_idx: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans = plans_in(tmp_path, on_idx, "dropping", "decaying")
    with monkeypatch.context() as patched:
        if begins == "population":
            stop_in_epoch(2, patched)
            with pytest.raises(SystemExit):
                run_all(plans)
        else:
            patched.setattr(
                Classifier, "on_train_epoch_start", stop_third_epoch(Classifier.on_train_epoch_start)
            )
            for asked in plans:
                with pytest.raises(KeyboardInterrupt):
                    train_here(asked)
    assert [asked.epochs_done() for asked in plans] == [2, 2]
    if begins == "population":
        for asked in plans:
            train_here(asked)
    else:
        run_all(plans)
    for name, asked in zip(("dropping", "decaying"), plans, strict=True):
        same_but_for_rounding(asked, apart[name])


def stop_third_epoch(usual: Any) -> Any:
    def stopped(self: Classifier) -> None:
        if self.current_epoch == 2:
            raise KeyboardInterrupt
        usual(self)

    return stopped


def test_a_folder_that_cannot_be_used_fails_alone(
    together: dict[str, Plan], on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans = plans_in(tmp_path, on_idx, "plain", "dropping", "decaying")
    plans[1].run.folder.mkdir(parents=True)
    (plans[1].run.folder / "checkpoints").write_text("in the way")
    results = run_all(plans)
    assert [found["status"] for found in results] == ["done", "failed", "done"]
    assert results[1]["cause"].startswith("its folder cannot be used: ")
    same_but_for_rounding(plans[0], together["plain"])


def test_a_population_that_dies_is_recorded(
    on_idx: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def out_of_memory(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(Population, "evaluate", out_of_memory)
    results = run_all(plans_in(tmp_path, on_idx, "plain", "dropping"))
    assert {(found["status"], found["cause"]) for found in results} == {
        (
            "failed",
            "memory ran out with 2 runs at once (out of memory): try workers=1, or on_memory=halve, which "
            "takes fewer at once by itself",
        )
    }


def test_finished_runs_stay_as_they_are(together: dict[str, Plan], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "Member", pytest.fail)
    assert len(run_all(list(together.values()))) == len(JOBS)


def test_what_cannot_be_stacked_is_named_and_run_apart(on_idx: tuple[str, ...]) -> None:
    def asked(*settings: str) -> Plan:
        return plan(*on_idx, *settings)

    small = [asked(f"lr={lr}", "seed=1", "momentum=0.5") for lr in (0.1, 0.2)]
    large = [asked(f"lr={lr}", "batch_size=16") for lr in (0.1, 0.2, 0.3)]
    adam = asked("optimizer=adam", "precision=bf16-mixed")
    single = asked("batch_size=32")
    groups, alone, remarks = grouped([*small, adam, *large, single])
    assert groups == [small, large]
    assert alone == [adam, single]
    assert remarks == [
        "1 run cannot be stacked: optimizer=adam (a population needs sgd), "
        "precision=bf16-mixed (a population needs 32-true or 64-true); run apart",
        "Runs that differ in batch_size (8, 16, 32) do not share a population: 3 groups.",
    ]


def test_workers_bounds_a_population(on_idx: tuple[str, ...]) -> None:
    plans = [plan(*on_idx, f"lr={lr}", "workers=2") for lr in (0.1, 0.2, 0.3)]
    assert grouped(plans)[:2] == ([plans[:2]], plans[2:])
