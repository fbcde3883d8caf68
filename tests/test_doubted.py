"""Labels that all runs of a sweep doubt."""

import csv
from pathlib import Path

import pytest

from src.classification.misclassifications import class_probabilities
from src.classification.task import data_of_run
from src.run.checkpoints import read_checkpoint, write_checkpoint
from src.run.trained import load_trained
from tests.command_line import run
from tests.made_up_runs import classifier_run


def test_images_on_which_all_runs_are_wrong_alike(idx_data: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep"
    folders = [classifier_run(sweep, data=idx_data, seed=seed, name=f"seed={seed}") for seed in (1, 2)]
    data = data_of_run(folders[0])
    images, labels, _ = data.splits["test"]
    predicted = class_probabilities(load_trained(str(folders[0])).module, images).argmax(1)
    one = int(predicted[predicted != labels][0])  # a class that is given wrongly
    other = folders[1] / "checkpoints" / "last.ckpt"
    content = read_checkpoint(other)
    content["state_dict"]["network.dense3.bias"][one] += 100  # the other run says nothing else
    write_checkpoint(other, content)
    ended = run("doubted", str(sweep), f"output={tmp_path}")
    assert ended.status == 0, ended.err
    expected = ((predicted == one) & (labels != one)).nonzero().flatten().tolist()
    with (tmp_path / "doubted.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert sorted(int(row["image"]) for row in rows) == expected
    assert all(row["label"] == str(int(labels[int(row["image"])])) != row["predicted"] for row in rows)
    assert [float(row["probability"]) for row in rows] == pytest.approx(
        sorted((float(row["probability"]) for row in rows), reverse=True)
    )
    assert (tmp_path / "doubted.png").stat().st_size > 1000
    single = run("doubted", str(classifier_run(tmp_path / "single", data=idx_data).parent))
    assert (single.status, "at least two finished classifiers are needed" in single.err) == (1, True)
