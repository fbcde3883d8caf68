"""Every error of a command is named at once, before anything is run or written."""

from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from src.config.settings import CaptionSettings, ClassifySettings, fields_of
from src.config.validation import config_errors
from src.sweep.plan import preflight
from tests.command_line import errors_of, plan, run, run_train


@pytest.mark.parametrize(
    ("argument", "error"),
    [
        ("dropout=1.5", "must be at least 0 and below 1"),
        ("dropout=nan", "must be at least 0 and below 1"),
        ("lr=0", "must be above 0"),
        ("lr=inf", "must be above 0"),
        ("lr=abc", "must be a number"),
        ("lr=[0.1]", "must be a number"),
        ("lr=null", "must be a number"),
        ("lr=true", "must be a number"),
        ("epochs=0", "must be at least 1"),
        ("epochs=1.5", "must be a whole number"),
        ("epochs=true", "must be a whole number"),
        ("seed=4294967296", "must be at least 0 and at most 4294967295"),
        ("threads=two", "must be a whole number or null"),
        ("force=perhaps", "must be true or false"),
        ("force=3", "must be true or false"),
        ("epochs=" + "9" * 3000, "must be at least 1 and at most 1000000"),
        ("label_smoothing=" + "9" * 400, "must be a number"),
        ("optimizer=sdg", "must be one of adam, adamw, sgd; did you mean 'sgd'?"),
        ("network=restnet_small", "must be one of convnet, resnet_small, timm; did you mean 'resnet_small'?"),
        ("network=null", "must be one of convnet, resnet_small, timm"),
        ("hydra/launcher=slrum", "must be one of basic, joblib, ray, slurm, workers; did you mean 'slurm'?"),
        ("augment=rotate", "must be one of none, flip, flip_crop, flip_crop_erase"),
        ("accelerator=abacus", "must be one of auto, cpu, gpu, cuda, mps"),
        ("precision=16", "must be one of auto, 32-true, bf16-mixed, 16-mixed, bf16-true, 64-true"),
        ("network=convent", "must be one of convnet, resnet_small, timm; did you mean 'convnet'?"),
        ("experiment=table3", "must be one of "),
        ("dropuot=0.1", "there is no setting 'dropuot'; did you mean 'dropout'?"),
        ("batchsize=8", "there is no setting 'batchsize'; did you mean 'batch_size'?"),
        ("zzzzzz=1", "there is no setting 'zzzzzz'"),
        ("table2", "settings are given as key=value"),
        ("--muntirun", "there is no such option; did you mean '--multirun'?"),
        ("--colour", "there is no such option; --help lists all settings"),
        (
            "experiment=table2",
            "its sweep over dropout, lr needs -m (python -m src.train -m experiment=table2)",
        ),
        ("lr=(", "cannot be read; quote the value: "),
        ("lr=0.1,0.2", "several values need -m"),
        ("seed=" + "9" * 5000, "cannot be read"),
        ("name=" + "[" * 3000, "cannot be read; quote the value: "),
        ("data.root=my (1)", "cannot be read; quote the value: 'data.root=\"my (1)\"'"),
        ("data.root=a,b", "several values need -m; one text with a comma is quoted: 'data.root=\"a,b\"'"),
    ],
)
def test_a_wrong_value_key_or_form_is_named(argument: str, error: str) -> None:
    (found,) = errors_of(argument)
    assert found.lower().startswith(argument.lower()[:60])
    assert f": {error}" in found


def test_all_errors_are_named_at_once_in_one_message_and_nothing_is_written(tmp_path: Path) -> None:
    words = ("dropout=0.1,1.5,abc", "lr=0.1,-1", "label_smoothing=choice(0.1,nan)", "epochs=0", "sede=1")
    ended = run_train(f"output_dir={tmp_path}/out", "-m", *words, "accelerator=x", "seed=range(0,1,0)")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        "Nothing was run: 8 errors in this command.",
        "  dropout=1.5: must be at least 0 and below 1",
        "  dropout=abc: must be a number",
        "  lr=-1: must be above 0",
        "  label_smoothing=nan: must be at least 0 and below 1",
        "  epochs=0: must be at least 1 and at most 1000000",
        "  sede=1: there is no setting 'sede'; did you mean 'seed'?",
        "  accelerator=x: must be one of auto, cpu, gpu, cuda, mps",
        "  seed=range(0,1,0): a range has a step and at most 10,000 values",
    ]
    assert not (tmp_path / "out").exists()


def test_a_value_of_any_length_makes_a_short_message(tmp_path: Path) -> None:
    argument = "epochs=" + "9" * 3000
    ended = run_train(argument, f"output_dir={tmp_path}")
    assert (ended.status, len(ended.err) < 1000) == (2, True)
    assert argument[:60] in ended.err


@pytest.mark.parametrize(
    "root", ["~/images", "Bilder/grüne Äpfel", "データ", "my folder", '"my (1)"', '"[a b]"']
)
def test_paths_are_taken_as_they_are_typed(root: str) -> None:
    assert plan("data=idx", f"data.root={root}").cfg.data.root == str(Path(root.strip('"')).expanduser())


@pytest.mark.parametrize(
    "argument", ["run.dir=x", "sweep.dir=x", "sweep.subdir=x", "output_subdir=.hydra", "job.chdir=true"]
)
def test_hydras_folders_are_refused(argument: str) -> None:
    (error,) = errors_of(f"hydra.{argument}")
    assert error.lower().startswith(f"hydra.{argument}: ")
    assert error.endswith("give output_dir=... and name=...")


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/tmp/elsewhere"])
def test_a_name_stays_inside_output_dir(name: str) -> None:
    assert plan(f"name={name}").errors() == [f"name={name}: must name a folder inside output_dir"]


def test_search_spaces_are_another_sweepers_to_check() -> None:
    ConfigStore.instance().store(group="hydra/sweeper", name="searching", node={"_target_": "their.Sweeper"})
    spaces = ("lr=tag(log,interval(1e-4,1e-1))", "seed=range(0,10000000000)")
    assert errors_of("-m", "hydra/sweeper=searching", *spaces) == []
    assert errors_of("-m", "hydra/sweeper=searching", "lr=choice(0.1,-1)") == ["lr=-1: must be above 0"]
    (error,) = errors_of("-m", spaces[0])
    assert error.startswith(spaces[0])


def own_experiments(folder: Path, **contents: str) -> tuple[str, str]:
    """The option that puts experiments of one's own beside the project's."""
    (folder / "experiment").mkdir(exist_ok=True)
    for name, content in contents.items():
        text = f"# @package _global_\n{content}"
        (folder / "experiment" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return ("--config-dir", str(folder))


def test_wrong_values_of_a_file_are_refused(tmp_path: Path, on_idx: tuple[str, ...]) -> None:
    own = own_experiments(tmp_path, range="lr: -1\nepochs: 0\n", key="lrr: 1\n", kind="lr: abc\n")
    for name, words in (("range", ("lr=-1", "epochs=0")), ("key", ("lrr",)), ("kind", ("abc",))):
        ended = run_train(*own, "-m", f"experiment={name}", *on_idx, f"output_dir={tmp_path}/out")
        assert (ended.status, "Traceback" in ended.err) == (2, False)
        assert all(word in ended.err for word in words), ended.err
    assert not list(tmp_path.glob("out/*/dropout*"))


@pytest.mark.parametrize(("native", "taken"), [(True, "bf16-mixed"), (False, "32-true")])
def test_precision_is_what_the_device_has(monkeypatch: pytest.MonkeyPatch, native: bool, taken: str) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, "amx_bf16": native})
    planned = plan("experiment=best_small", "accelerator=cpu")
    assert planned.run.fingerprint["precision"] == taken
    assert "precision" not in planned.run.name  # the recipe's own: the same folder on every machine


def test_missing_values_and_devices_are_named(
    monkeypatch: pytest.MonkeyPatch, on_idx: tuple[str, ...]
) -> None:
    assert any("root" in error for error in plan("data=idx").errors() or preflight([plan("data=idx")]))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (error,) = preflight([plan(*on_idx[:-1], "accelerator=cuda")])
    assert error.startswith("accelerator=cuda: torch finds none on this machine")
    (error,) = preflight([plan(*on_idx, "precision=16-mixed")])
    assert error == "precision=16-mixed: cpu cannot compute in it; take precision=bf16-mixed"
    cfg = plan(*on_idx).cfg
    assert config_errors(cfg) == []
    cfg.epochs, cfg.dropout = 0, 1.5  # wrong values in a YAML file never pass the command line
    assert [error.split(":")[0] for error in config_errors(cfg)] == ["dropout=1.5", "epochs=0"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["trainer.devices=[x"], "cannot be read"),
        (["trainer.max_epochs=3"], "trainer.max_epochs: is set by the run itself"),
        (["trainer.fast_dev_run=abc"], "trainer.fast_dev_run=abc: must be"),
        (["network._target_=nowhere.Net"], "network._target_=nowhere.Net: cannot be imported"),
        (
            ["network=resnet_small", "network.wdth=3"],
            "ResNetSmall has no argument 'wdth'; did you mean 'width'?",
        ),
        (
            ["network=resnet_small", "network.width=abc"],
            "network.width=abc: must be a whole number (ResNetSmall)",
        ),
        (["optimizer.momentum=0.9", "optimizer=adam"], "optimizer.momentum: Adam has no argument 'momentum'"),
        (["schedule.step_size=3"], "schedule.step_size: there is no schedule to take it"),
        (
            ["schedule._target_=torch.optim.lr_scheduler.StepLR"],
            "missing 1 required positional argument: 'step_size'",
        ),
        (["optimizer.nesterov=true"], "Nesterov momentum requires a momentum"),
        (["network=own"], "network._target_: must be given a value (network._target_=...)"),
        (["network._target_=torch.nn.Flatten", "network.start_dim=2"], "torch.nn.Flatten gives scores"),
    ],
)
def test_arguments_of_targets_are_checked_by_their_signature(
    arguments: list[str], said: str, on_idx: tuple[str, ...]
) -> None:
    errors = errors_of(*arguments) or preflight([plan(*on_idx, *arguments)])
    assert any(said in error for error in errors), errors


def test_help_explains_every_setting_and_cfg_shows_them() -> None:
    ended = run_train("--help")
    for schema in (ClassifySettings, CaptionSettings):
        for name, _ in fields_of(schema):
            assert f"\n  {name} " in ended.out
    headings = [line for line in ended.out.splitlines() if line.startswith("== ")]
    assert (ended.status, len(headings), headings[1]) == (0, 6, "== How it is trained ==")
    composed = run_train("--cfg", "job", "network=resnet_small")
    assert (composed.status, "ResNetSmall" in composed.out) == (0, True)
    shown = run("rank", "some folder", "--cfg", "job")
    assert (shown.status, shown.out.splitlines()[0]) == (0, "folder: some folder")
    wrong = ((["a", "tabel=x"], "did you mean 'table'"), (["a", "plots=perhaps"], "must be true or false"))
    for arguments, said in wrong:
        refused = run("rank", *arguments)
        assert (refused.status, said in refused.err) == (2, True)
