"""Runs that are stopped, damaged or moved to a cluster end with the numbers of those that were not."""

import json
import random
import shutil
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from src.build import refuse_untrusted
from src.entry_point import UserError
from src.files import modified_files
from src.run.checkpoints import DamagedCheckpoint, read_checkpoint, write_checkpoint
from src.run.environment import provenance
from tests.command_line import Command, plan, rows_of, run_train, same_numbers, train_here
from tests.made_up_data import write_data_set

EPOCHS = 4
SETTINGS = ("limit_train=160", "threads=1", "lr=0.1", "optimizer.momentum=0.5", "augment=flip_crop")
SLURM = {
    "SLURM_JOB_ID": "77",
    "SLURM_PROCID": "1",
    "SLURM_LOCALID": "0",
    "SLURM_NODELIST": "n1",
    "SLURM_JOB_NAME": "x",
    "PL_TRAINER_LIMIT_TRAIN_BATCHES": "1",
}
LSF = {"LSB_JOBID": "7", "LSB_DJOB_HOSTFILE": "none", "LSB_DJOB_RANKFILE": "none", "JSM_NAMESPACE_SIZE": "4"}


@pytest.fixture
def command(on_idx: tuple[str, ...]) -> tuple[str, ...]:
    return (*on_idx, *SETTINGS)


@pytest.fixture(scope="module")
def whole(on_idx: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of four epochs that nothing disturbed."""
    asked = plan(*on_idx, *SETTINGS, "epochs=4", f"output_dir={tmp_path_factory.mktemp('whole')}")
    train_here(asked)
    return asked.run.folder


def epochs_of_curves(folder: Path) -> set[tuple[int, ...]]:
    """The epochs that TensorBoard's curves have points at."""
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("final/")]
    return {tuple(point.step for point in events.Scalars(tag)) for tag in tags}


def halfway(whole: Path, tmp_path: Path, command: tuple[str, ...]) -> Any:
    """The plan of the same run after two epochs, as a kill leaves it."""
    asked = plan(*command, "epochs=4", f"output_dir={tmp_path}")
    shutil.copytree(whole, asked.run.folder)
    for name in ("results.json", "SHA256SUMS"):
        (asked.run.folder / name).unlink()
    early = plan(*command, "epochs=2", f"output_dir={tmp_path / 'early'}")
    train_here(early)
    for name in ("last", "best"):
        shutil.copy(early.run.folder / "checkpoints" / f"{name}.ckpt", asked.run.folder / "checkpoints")
    return asked


def test_results_name_the_commit_that_began_not_one_checked_out_meanwhile(
    tmp_path: Path, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = plan(*command, "epochs=1", f"output_dir={tmp_path}")

    def git(*_: Any, **__: Any) -> SimpleNamespace:
        return SimpleNamespace(stdout="later" if asked.run.folder.exists() else "before")

    monkeypatch.setattr("src.run.environment.subprocess.run", git)
    provenance.cache_clear()
    assert train_here(asked)["commit"] == "before"
    provenance.cache_clear()


@pytest.mark.parametrize("damage", ["none", "last", "best", "both", "last cut", "leftover"])
def test_a_run_goes_on_bit_for_bit_whatever_is_damaged(
    whole: Path,
    tmp_path: Path,
    command: tuple[str, ...],
    damage: str,
    messages: list[str],
) -> None:
    asked = halfway(whole, tmp_path, command)
    for path in (asked.run.last, asked.run.best):
        if damage in (path.stem, "both"):
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
    if damage == "last cut":
        asked.run.last.write_bytes(asked.run.last.read_bytes()[:5000])
    if damage == "leftover":
        (asked.run.folder / ".0123456789abcdef.tmp").write_bytes(b"half")
    train_here(asked)
    same_numbers(asked.run.folder, whole)
    assert not list(asked.run.folder.glob(".*.tmp"))
    assert any("damaged" in line or "cut off" in line for line in messages) == (
        damage not in ("none", "leftover")
    )


@pytest.mark.parametrize("number", [pytest.param(signal.SIGINT, marks=pytest.mark.slow), signal.SIGTERM])
def test_a_run_that_is_stopped_and_killed_carries_on(
    command: tuple[str, ...], whole: Path, tmp_path: Path, number: signal.Signals
) -> None:
    arguments = (*command, f"epochs={EPOCHS}", f"output_dir={tmp_path}")
    process = Command("train", *arguments)
    process.wait_for_rows(tmp_path / "idx", 1)
    process.send(number, to_group=True)
    ended = process.end()
    (folder,) = (tmp_path / "idx").glob("dropout=*")
    done = len(rows_of(folder))
    assert 1 <= done < EPOCHS
    assert ended.status == 128 + number
    assert f"Stopped after epoch {done}; the same command carries on." in ended.err
    assert "Traceback" not in ended.err

    process = Command("train", *arguments)
    process.wait_for_rows(tmp_path / "idx", min(done + 1, EPOCHS - 1))
    process.send(signal.SIGKILL)
    assert process.end().status == -signal.SIGKILL
    assert not (folder / "results.json").exists()

    assert run_train(*arguments).status == 0
    same_numbers(folder, whole)
    assert epochs_of_curves(folder) == {tuple(range(1, EPOCHS + 1))}
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_damaged_last_checkpoint_is_written_again_where_no_epoch_is_left(
    whole: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    asked = plan(*command, "epochs=4", f"output_dir={tmp_path}")
    shutil.copytree(whole, asked.run.folder)
    (asked.run.folder / "results.json").unlink()
    shutil.copy(asked.run.last, asked.run.best)  # as if the last epoch were the best
    asked.run.last.write_bytes(b"cut off")
    train_here(asked)
    assert read_checkpoint(asked.run.last)["epoch"] == EPOCHS - 1


@pytest.mark.parametrize(
    "change",
    [("results.json", '"val_acc": 0.', '"val_acc": 0.9'), ("config.yaml", "batch_size: 8", "batch_size: 9")],
)
def test_altered_files_are_made_again(
    whole: Path, tmp_path: Path, command: tuple[str, ...], messages: list[str], change: tuple[str, str, str]
) -> None:
    name, before, after = change
    asked = plan(*command, "epochs=4", f"output_dir={tmp_path}")
    shutil.copytree(whole, asked.run.folder)
    altered = asked.run.folder / name
    altered.write_text(altered.read_text().replace(before, after))
    assert modified_files(asked.run.folder) == [name]
    assert asked.errors() == []
    train_here(asked)
    same_numbers(asked.run.folder, whole)
    assert any(f"{name} was changed after it was written" in line for line in messages)


def test_other_settings_data_and_code(
    whole: Path, tmp_path: Path, command: tuple[str, ...], messages: list[str]
) -> None:
    asked = plan(*command, "epochs=4", f"output_dir={tmp_path}")
    shutil.copytree(whole, asked.run.folder)
    config = asked.run.config_file
    (asked.run.folder / "SHA256SUMS").unlink()
    config.write_text(config.read_text().replace("batch_size: 8", "batch_size: 4"))
    assert "batch_size 4 there, 8 now" in asked.errors()[0]
    config.write_text(
        config.read_text().replace("batch_size: 4", "batch_size: 8").replace("code: ", "code: 0")
    )
    (asked.run.folder / "results.json").unlink()
    train_here(asked)
    assert any("goes on from a state made by other code" in line for line in messages)

    other = write_data_set(tmp_path / "other", train=701, test=200)
    same = [f"data.root={other}" if text.startswith("data.root=") else text for text in command]
    elsewhere = plan(*same, "epochs=4", f"output_dir={tmp_path}")
    (asked.run.folder / "results.json").unlink()
    assert "have changed since this run began" in train_here(elsewhere, "failed")["cause"]
    (asked.run.folder / "SHA256SUMS").unlink()
    config.unlink()
    assert "is gone or damaged" in plan(*command, "epochs=4", f"output_dir={tmp_path}").errors()[0]


@pytest.mark.parametrize("cluster", [{**SLURM, "SLURM_NTASKS": "1"}, {**SLURM, "SLURM_NTASKS": "4"}, LSF])
def test_a_cluster_changes_nothing(
    whole: Path, tmp_path: Path, command: tuple[str, ...], cluster: dict[str, str]
) -> None:
    donor = read_checkpoint(whole / "checkpoints" / "best.ckpt")
    donor["state_dict"] = {name: torch.zeros_like(value) for name, value in donor["state_dict"].items()}
    write_checkpoint(tmp_path / "hpc_ckpt_1.ckpt", donor)  # what Lightning's own handler leaves behind
    ended = run_train(*command, "epochs=4", f"output_dir={tmp_path / 'out'}", folder=tmp_path, **cluster)
    assert ended.status == 0, ended.err
    (folder,) = (path.parent for path in (tmp_path / "out").glob("*/*/results.json"))
    same_numbers(folder, whole)


def test_any_flipped_byte_of_a_checkpoint_is_noticed_or_harmless(whole: Path, tmp_path: Path) -> None:
    small = {"a": torch.arange(50.0), "b": {"c": [1, 2.5, "text"]}}
    write_checkpoint(tmp_path / "x.ckpt", small)
    data = (tmp_path / "x.ckpt").read_bytes()
    rand = random.Random(0)
    noticed = 0
    for place in rand.sample(range(len(data)), 300):
        changed = bytearray(data)
        changed[place] ^= 1 << rand.randrange(8)
        (tmp_path / "y.ckpt").write_bytes(changed)
        try:
            found = read_checkpoint(tmp_path / "y.ckpt")
            assert torch.equal(found["a"], small["a"])  # type: ignore[arg-type]
            assert found["b"] == small["b"]
        except DamagedCheckpoint as error:
            noticed += 1
            assert "y.ckpt" in str(error)  # noqa: PT017
    assert noticed > 150
    for content in (b"", data[:100], b"PK\x05\x06" + b"\0" * 18, json.dumps(small["b"]).encode()):
        (tmp_path / "y.ckpt").write_bytes(content)
        with pytest.raises(DamagedCheckpoint):
            read_checkpoint(tmp_path / "y.ckpt")


def test_checkpoints_name_no_code_that_is_not_trusted() -> None:
    stranger = {
        "network": {"_target_": "os.system", "command": "true"},
        "list": [{"_target_": "torch.nn.Linear"}],
    }
    with pytest.raises(UserError, match=r"trust=\[os\] allows it"):
        refuse_untrusted(stranger)
    refuse_untrusted({"_target_": "json.loads"}, trust=["json"])
    refuse_untrusted({"a": {"_target_": "src.classification.networks.ConvNet"}})
    for target in (
        "torchvisionx.models.resnet18",
        "torch.nn.functional.torch.hub.load",
        "src.files.write_atomically",
    ):
        with pytest.raises(UserError, match="asks to run"):
            refuse_untrusted({"_target_": target})
