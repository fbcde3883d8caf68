"""Search by Optuna: kill and resume, pruning, a Pareto front, spaces under a condition."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Command, results_of, rows_of, run_train

OPTUNA = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.batch=3", "epochs=3", "limit_train=240")
pytestmark = pytest.mark.engines


def study_of(sweep: Path) -> Any:
    """The study of a sweep's folder; Optuna is there only where these tests run."""
    import optuna

    from src.run.pruning import storage

    journal = storage(sweep / "optuna.journal")
    (name,) = optuna.get_all_study_names(journal)
    return optuna.load_study(study_name=name, storage=journal)


def names_of(sweep: Path) -> list[str]:
    return [folder.name for folder in sweep.glob("dropout=*")]


def test_a_search_goes_on_where_it_was_killed(on_idx: tuple[str, ...], tmp_path: Path) -> None:
    arguments = (*OPTUNA, "lr=tag(log,interval(1e-4,1e-1))", "dropout=range(0.1,0.9,0.2)", *on_idx)
    arguments = (*arguments, f"output_dir={tmp_path}", "n_trials=7")
    command = Command("train", *arguments)
    command.wait_for_rows(tmp_path / "idx", 1)
    command.send(9, to_group=True)
    command.end()
    ended = run_train(*arguments)
    assert ended.status == 0, ended.err
    study = study_of(tmp_path / "idx")
    assert len(study.trials) == 7
    assert all(trial.state.is_finished() for trial in study.trials)
    done = [results_of(folder) for folder in (tmp_path / "idx").glob("dropout=*")]
    assert study.best_value == max(results["val_acc"] for results in done if results["status"] == "done")
    assert (tmp_path / "idx" / "plots" / "search.png").exists()
    assert all(len(name) < 80 for name in names_of(tmp_path / "idx"))  # values of four digits


def test_the_pruner_ends_a_run_that_learns_nothing(on_idx: tuple[str, ...], tmp_path: Path) -> None:
    """After six good ones."""
    good = (
        *OPTUNA,
        "hydra.sweeper.batch=5",
        "lr=0.1,0.08",
        "seed=range(0,9)",
        *on_idx,
        f"output_dir={tmp_path}",
    )
    assert run_train(*(text for text in good if text != "hydra.sweeper.batch=3"), "n_trials=6").status == 0
    study = study_of(tmp_path / "idx")
    trial = study.ask()
    bad = ("lr=1e-6", "epochs=3", "limit_train=240", *on_idx, f"output_dir={tmp_path}")
    ended = run_train(
        *bad, f"trial='{tmp_path / 'idx' / 'optuna.journal'}:{study.study_name}:{trial.number}'"
    )
    assert ended.status == 0, ended.err
    (folder,) = (tmp_path / "idx").glob("dropout=*,lr=1e-06*")
    assert results_of(folder)["status"] == "pruned"
    assert len(rows_of(folder)) < 3


def test_two_objectives_and_spaces_under_a_condition(on_idx: tuple[str, ...], tmp_path: Path) -> None:
    spaces = "hydra.sweeper.spaces=['network=resnet_small network.width=choice(4,8)']"
    objectives = "hydra.sweeper.minimize=[parameters]"
    arguments = (*OPTUNA, "network=convnet,resnet_small", "lr=0.1", objectives, spaces, *on_idx, "n_trials=6")
    ended = run_train(*arguments, f"output_dir={tmp_path}")
    assert ended.status == 0, ended.err
    trials = study_of(tmp_path / "idx").trials
    for trial in trials:
        assert ("network.width" in trial.params) == (trial.params["network"] == "resnet_small")
        assert trial.values[1] > 0
    assert (tmp_path / "idx" / "plots" / "pareto.png").exists()


def test_errors_are_named(on_idx: tuple[str, ...], tmp_path: Path) -> None:
    ended = run_train("-m", "hydra/sweeper=optuna", "lr=0.1", *on_idx, f"output_dir={tmp_path}")
    assert ended.status == 2
    assert "nothing to search" in ended.err
