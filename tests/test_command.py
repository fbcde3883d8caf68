"""Every mistake of a command line is named at once, before anything is run or written."""

from pathlib import Path

import pytest
from hydra.core.config_store import ConfigStore

from src.command import read_command
from src.config import SCHEMAS, fields_of, help_text, mistakes_in
from src.overrides import with_listed_ranges
from tests.command_line import plan, run_train

RECIPES = "captions, captions_sydney, captions_ucm, captions_ucm_best, table2, table2_seeds"


@pytest.mark.parametrize(
    ("argument", "mistake"),
    [
        ("dropout=1.5", "must be at least 0 and below 1"),
        ("dropout=1", "must be at least 0 and below 1"),
        ("dropout=-0.1", "must be at least 0 and below 1"),
        ("dropout=nan", "must be at least 0 and below 1"),
        ("lr=-1", "must be above 0"),
        ("lr=0", "must be above 0"),
        ("lr=inf", "must be a finite number above 0"),
        ("lr=nan", "must be a finite number above 0"),
        ("lr=abc", "must be a number"),
        ("lr=[0.1]", "must be a number"),
        ("lr=true", "must be a number"),
        ("epochs=0", "must be at least 1"),
        ("epochs=1.5", "must be a whole number"),
        ("epochs=true", "must be a whole number"),
        ("batch_size=0", "must be at least 1"),
        ("batch_size=many", "must be a whole number"),
        ("momentum=1", "must be at least 0 and below 1"),
        ("weight_decay=-0.1", "must be at least 0"),
        ("weight_decay=inf", "must be a finite number at least 0"),
        ("seed=-1", "must be at least 0 and at most 4294967295"),
        ("seed=4294967296", "must be at least 0 and at most 4294967295"),
        ("limit_train=0", "must be at least 1"),
        ("workers=0", "must be at least 1"),
        ("threads=two", "must be a whole number or null"),
        ("data.val_size=0", "must be at least 1"),
        ("force=perhaps", "must be true or false"),
        ("optimizer=sdg", "must be one of sgd, adam, adamw"),
        ("augment=rotate", "must be one of none, flip, flip_crop"),
        ("accelerator=abacus", "must be one of auto, cpu, gpu, cuda, mps"),
        ("precision=16", "must be one of 32-true, bf16-mixed, 16-mixed, bf16-true, 64-true"),
        ("data=cifar", "must be one of captions_csv, coco, fashion_mnist, idx, karpathy, scenes"),
        ("task=draw", "must be one of caption, classify"),
        ("experiment=table3", f"must be one of {RECIPES}"),
    ],
)
def test_a_wrong_value_is_named(argument: str, mistake: str) -> None:
    (found,) = read_command([argument]).mistakes
    key, _, value = argument.partition("=")
    assert found.endswith(f": {mistake}")
    assert found.lower().startswith(f"{key}={value}")


@pytest.mark.parametrize(
    ("argument", "mistake"),
    [
        ("dropuot=0.1", "there is no setting 'dropuot'; did you mean 'dropout'?"),
        ("batchsize=8", "there is no setting 'batchsize'; did you mean 'batch_size'?"),
        ("val_size=10", "there is no setting 'val_size'; did you mean 'data.val_size'?"),
        ("zzzzzz=1", "there is no setting 'zzzzzz'"),
        ("+lr=0.1", "settings cannot be added or removed, only given a value (key=value)"),
        ("~lr", "settings cannot be added or removed, only given a value (key=value)"),
        ("dropout", "cannot be read; settings are given as key=value"),
        ("lr=(", "cannot be read; settings are given as key=value"),
        ("lr=0.1,0.2", "several values need -m (python -m src.train -m lr=0.1,0.2)"),
        ("seed=" + "9" * 5000, "cannot be read; settings are given as key=value"),
        ("name=" + "[" * 3000, f"cannot be read; quote the value: 'name=\"{'[' * 3000}\"'"),
        ("data.root=my (1)", "cannot be read; quote the value: 'data.root=\"my (1)\"'"),
    ],
)
def test_a_wrong_key_or_form_is_named(argument: str, mistake: str) -> None:
    assert read_command([argument]).mistakes == [f"{argument}: {mistake}"]


@pytest.mark.parametrize("argument", ["lr=interval(0.1,0.5)", "experiment=glob(*)"])
def test_sweeps_that_cannot_be_listed_are_refused(argument: str) -> None:
    (mistake,) = read_command(["-m", argument]).mistakes
    assert mistake.startswith(f"{argument}: the values of a sweep are listed")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("seed=range(0,10000000000)", "has 10,000,000,000 values, more than the limit of 10,000"),
        ("seed=shuffle(range(0,10000000000))", "has 10,000,000,000 values, more than the limit of 10,000"),
        ("lr=range(0.1,0.2,1e-12)", "values, more than the limit of 10,000"),
        ("lr=range(0,inf,1)", "values, more than the limit of 10,000"),
        ("seed=range(0,10,0)", "the values of a sweep are listed"),
        ("lr=range(0,1.5,0.0)", "the values of a sweep are listed"),
    ],
)
def test_ranges_that_would_fill_the_memory_are_refused(argument: str, said: str) -> None:
    (mistake,) = read_command(["-m", argument]).mistakes
    assert said in mistake


def test_a_sweep_of_too_many_jobs_is_refused() -> None:
    (mistake,) = read_command(["-m", "seed=range(0,1000)", "batch_size=range(1,1000)"]).mistakes
    assert mistake == "this sweep has 999,000 jobs, more than the limit of 100,000: give fewer values"
    assert read_command(["-m", "seed=range(0,5)", "dropout=range(0.1,0.9,0.1)"]).mistakes == []


@pytest.mark.parametrize("value", ["9" * 400, "-" + "9" * 400, "[" * 400 + "]" * 400])
def test_values_beyond_every_type_are_named(value: str) -> None:
    (mistake,) = read_command([f"label_smoothing={value}"]).mistakes
    assert mistake.endswith("must be a number") or "must be at least 0" in mistake


def test_a_folder_of_recipes_that_cannot_be_is_none() -> None:
    assert read_command(["-cd", "x" * 5000, "experiment=mine"]).mistakes == [
        f"experiment=mine: must be one of {RECIPES}"
    ]


def test_data_and_task_cannot_be_left_out() -> None:
    assert len(read_command(["data=null", "task=null"]).mistakes) == 2
    assert read_command(["experiment=null"]).mistakes == []


def test_all_mistakes_are_named_at_once_and_each_value_of_a_sweep_is_checked() -> None:
    arguments = [
        "-m",
        "dropout=0.1,1.5,abc",
        "lr=0.1,-1",
        "weight_decay=choice(0.1,nan)",
        "epochs=0",
        "sede=1",
        "data=x",
    ]
    assert [mistake.split(":")[0] for mistake in read_command(arguments).mistakes] == [
        "dropout=1.5",
        "dropout=abc",
        "lr=-1",
        "weight_decay=nan",
        "epochs=0",
        "sede=1",
        "data=x",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["seed=0"],
        ["lr=1"],
        ["lr=1e-3", "dropout=0", "limit_train=null", "threads=null"],
        ["-m", "dropout=0.1,0.2", "lr=range(1,3)", "seed=0,1"],
        ["--multirun", "experiment=table2"],
        ["name=my runs", "output_dir=a/b c", "data.root='x=1'"],
        ["name=${data.name}_two", "dropout=${lr}"],
        ["hydra.job.num=1", "hydra/launcher=basic", "hydra.job.chdir=false"],
        ["lr=0.1", "lr=0.1"],
        ["data=idx", "data.root=.", "force=yes"],
        ["task=caption", "images.range=0,4095"],  # one value, not two of a sweep
        ["task=caption", "images.range=full", "-m"],
    ],
)
def test_right_commands_are_taken(arguments: list[str]) -> None:
    assert read_command(arguments).mistakes == []


@pytest.mark.parametrize("root", ["~/images", "Bilder/grüne Äpfel", "データ", "my folder", '"my (1)"'])
def test_paths_are_taken_as_they_are_typed(root: str) -> None:
    command = read_command(["data=idx", f"data.root={root}"])
    assert command.mistakes == []
    assert plan(*command.arguments).cfg.data.root == str(Path(root.strip('"')).expanduser())


def test_a_text_that_is_no_text_to_hydra_or_a_shell_is_told_in_quotes() -> None:
    assert read_command(["data.root=my", "folder"]).mistakes == [
        "folder: cannot be read; a value with spaces is quoted: 'data.root=\"my folder\"'"
    ]
    assert read_command(["data.root=[a b]"]).mistakes[0].endswith("""; 'data.root="[a b]"' is one""")
    assert read_command(["data.root=a,b"]).mistakes[0].endswith(""" is quoted: 'data.root="a,b"'""")
    # What is told works.
    assert read_command(["data=idx", 'data.root="[a b]"']).mistakes == []
    assert plan("data=idx", 'data.root="[a b]"').cfg.data.root == "[a b]"


def test_a_setting_is_given_once() -> None:
    assert read_command(["lr=0.1", "epochs=1", "lr=0.01"]).mistakes == ["lr=0.01: lr=0.1 is given, too"]


@pytest.mark.parametrize(
    "argument",
    ["run.dir=x", "sweep.dir=x", "sweep.subdir=x", "output_subdir=.hydra", "job.chdir=true"],
)
def test_hydras_folders_are_refused(argument: str) -> None:
    (mistake,) = read_command([f"hydra.{argument}"]).mistakes
    assert mistake.lower().startswith(f"hydra.{argument}: ")
    assert mistake.endswith("give output_dir=... and name=...")


@pytest.mark.parametrize("name", ["../up", "a/../../up", "/tmp/elsewhere"])
def test_a_name_stays_inside_output_dir(name: str) -> None:
    assert read_command([f"name={name}"]).mistakes == [f"name={name}: must name a folder inside output_dir"]


def test_search_spaces_pass_to_another_sweeper() -> None:
    ConfigStore.instance().store(group="hydra/sweeper", name="searching", node={"_target_": "their.Sweeper"})
    spaces = ["lr=tag(log,interval(1e-4,1e-1))", "seed=range(0,10000000000)", "experiment=glob(*)"]
    assert read_command(["-m", "hydra/sweeper=searching", *spaces]).mistakes == []
    assert read_command(["-m", "hydra/sweeper=searching", "lr=choice(0.1,-1)"]).mistakes == [
        "lr=-1: must be above 0"
    ]


def test_ranges_of_fractions_are_as_they_are_written() -> None:
    assert with_listed_ranges("dropout=range(0.1,0.4,0.1)") == "dropout=0.1,0.2,0.3"
    assert with_listed_ranges("weight_decay=range(0,2.1,0.7)") == "weight_decay=0.0,0.7,1.4"  # Hydra adds 2.1
    assert with_listed_ranges("lr=range(0.3,0.1,-0.1)") == "lr=0.3,0.2"
    assert with_listed_ranges("seed=range(1,3)") == "seed=range(1,3)"
    assert plan("dropout=0.30000000000000004").run == plan("dropout=0.3").run
    assert plan("lr=0.30000000000000004", "dropout=${lr}").run == plan("lr=0.3", "dropout=0.3").run


def own_experiments(folder: Path, **contents: str) -> tuple[str, str]:
    """The option that puts experiments of one's own beside the project's."""
    (folder / "experiment").mkdir(exist_ok=True)
    for name, content in contents.items():
        text = f"# @package _global_\n{content}"
        (folder / "experiment" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return ("--config-dir", str(folder))


def test_no_sweep_of_a_file_is_lost(tmp_path: Path) -> None:
    own = own_experiments(
        tmp_path,
        one="hydra: {sweeper: {params: {lr: '0.1,0.01'}}}\n",
        two="hydra: {sweeper: {params: {dropout: '0.1,0.2', seed: '1,2'}}}\n",
        fixed="lr: 0.5\n",
        itself="hydra: {mode: MULTIRUN}\n",
    )
    assert read_command([*own, "-m", "experiment=one,fixed,two"]).mistakes == [
        "experiment=one: its own sweep (lr) would be lost; one sweep in a command",
        "experiment=two: its own sweep (dropout, seed) would be lost; one sweep in a command",
    ]
    (mistake,) = read_command([*own, "experiment=two", "seed=1"]).mistakes
    assert mistake == (
        "experiment=two: its sweep over dropout needs -m (python -m src.train -m experiment=two ...)"
    )
    for fine in (["-m", "experiment=two"], ["experiment=two", "seed=1", "dropout=0.1"], ["experiment=fixed"]):
        assert read_command([*own, *fine]).mistakes == []
    command = read_command([*own, "experiment=itself", "lr=0.1,0.2"])
    assert (command.multirun, command.mistakes) == (True, [])


def test_a_file_with_a_byte_order_mark_is_named(tmp_path: Path) -> None:
    own = own_experiments(tmp_path, mine="lr: 0.5\n")
    file = tmp_path / "experiment" / "mine.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    (mistake,) = read_command([*own, "experiment=mine"]).mistakes
    assert mistake.startswith(f"experiment=mine: {file} begins with a byte order mark; ")


def test_experiments_of_a_folder_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").touch()
    for options in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"], ["-cd", str(tmp_path)]):
        assert read_command([*options, "experiment=mine"]).mistakes == []
        (mistake,) = read_command([*options, "experiment=yours"]).mistakes
        recipes = ", ".join(sorted(["mine", *RECIPES.split(", ")]))
        assert mistake == f"experiment=yours: must be one of {recipes}"


def test_what_kind_of_command_it_is() -> None:
    assert not read_command(["lr=1"]).multirun
    assert all(read_command([flag]).multirun for flag in ("-m", "--multirun", "hydra.mode=MULTIRUN"))
    assert all(read_command([flag]).asks_only for flag in ("--help", "-h", "--cfg", "--info"))
    assert not read_command(["-m", "lr=1"]).asks_only


def test_a_composed_configuration_is_checked_as_well() -> None:
    """Wrong values in a YAML file never pass the command line."""
    asked = plan("data=idx", "data.root=nowhere", "accelerator=cpu")
    assert mistakes_in(asked.cfg) == []
    assert asked.mistakes() == ["data.root=nowhere: there is no such folder"]
    asked.cfg.dropout, asked.cfg.epochs, asked.cfg.optimizer = 1.5, 0, "sdg"
    assert [mistake.split(":")[0] for mistake in asked.mistakes()] == [
        "epochs=0",
        "optimizer=sdg",
        "dropout=1.5",
    ]
    assert mistakes_in(plan("data=idx").cfg) == ["data.root: must be given a value (data.root=...)"]


def test_help_explains_every_setting() -> None:
    text = help_text()
    for schema in SCHEMAS.values():
        for name in fields_of(schema):
            assert f"\n  {name} " in text


def test_the_command_refuses_all_mistakes_with_one_message(tmp_path: Path) -> None:
    output = tmp_path / "out"
    ended = run_train(f"output_dir={output}", "-m", "dropout=0.1,1.5", "lr=abc", "epochs=0", "sede=1")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.splitlines() == [
        "Nothing was run: 4 mistakes in this command.",
        "  dropout=1.5: must be at least 0 and below 1",
        "  lr=abc: must be a number",
        "  epochs=0: must be at least 1",
        "  sede=1: there is no setting 'sede'; did you mean 'seed'?",
        "python -m src.train --help explains every setting.",
    ]
    assert not output.exists()


def test_a_device_that_is_not_there_is_refused(
    monkeypatch: pytest.MonkeyPatch, on_idx: tuple[str, ...]
) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    (mistake,) = plan(*on_idx, "accelerator=cuda").mistakes()
    assert mistake.startswith("accelerator=cuda: torch finds none on this machine")


@pytest.mark.parametrize(
    ("device", "precision", "instead"),
    [
        ("cpu", "16-mixed", "bf16-mixed"),
        ("mps", "64-true", "32-true"),
        ("mps", "bf16-mixed", "32-true"),
        ("cuda", "bf16-true", "32-true"),
        ("cuda", "16-mixed", None),
        *((("cpu"), precision, None) for precision in ("32-true", "64-true", "bf16-mixed", "bf16-true")),
    ],
)
def test_a_precision_that_the_device_cannot_do_is_refused(
    device: str, precision: str, instead: str | None, monkeypatch: pytest.MonkeyPatch, on_idx: tuple[str, ...]
) -> None:
    """On an old GPU or macOS, which are made up here."""
    monkeypatch.setattr("torch.cuda.is_available", lambda: device == "cuda")
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda **_: False)
    monkeypatch.setattr("torch.cuda.get_device_name", lambda _: "Old GPU")
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: device == "mps")
    monkeypatch.setattr("torch.backends.mps.is_macos_or_newer", lambda *_: False)
    found = plan(*on_idx, "accelerator=auto", f"precision={precision}").mistakes()
    name = "Old GPU" if device == "cuda" else device
    expected = f"precision={precision}: {name} cannot compute in it; take precision={instead}"
    assert found == ([] if instead is None else [expected])


@pytest.mark.parametrize(
    ("content", "mistakes"),
    [
        (
            "batch_size: 0\nhydra:\n  sweeper:\n    params:\n      dropout: 0.1,1.5\n",
            ["  batch_size=0: must be at least 1\n", "  dropout=1.5: must be at least 0 and below 1\n"],
        ),
        ("lr: abc\n", ["Value 'abc' of type 'str' could not be converted to Float"]),
    ],
)
def test_wrong_values_of_an_experiment_file_are_refused(
    tmp_path: Path, on_idx: tuple[str, ...], content: str, mistakes: list[str]
) -> None:
    experiments = tmp_path / "conf" / "experiment"
    experiments.mkdir(parents=True)
    (experiments / "mine.yaml").write_text(f"# @package _global_\n{content}")
    output = tmp_path / "out"
    own = ("--config-dir", str(experiments.parent), "-m", "experiment=mine")
    ended = run_train(*own, *on_idx, f"output_dir={output}")
    assert ended.status == 2
    assert all(mistake in ended.err for mistake in mistakes)
    assert "Traceback" not in ended.err
    assert not list(output.glob("*/dropout*"))


def test_settings_may_stand_on_both_sides_of_an_option() -> None:
    command = read_command(["lr=0.1", "-m", "seed=1,2", "--config-dir", "somewhere", "epochs=1"])
    assert command.mistakes == []
    assert command.arguments == ["-m", "--config-dir", "somewhere", "lr=0.1", "seed=1,2", "epochs=1"]
