"""What comes from others is not trusted: no code in a file is run, no archive leaves its folder."""

import gzip
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import tracemalloc
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from src import audit, download, predict
from src.captioning import encoder as encoder_module
from src.captioning.encoder import EncoderError, build_encoder
from src.captioning.features import images_of
from src.checkpoints import read_checkpoint
from src.classification.data import read_idx
from src.download import DataUnavailable
from src.filters import __main__ as filters
from src.job import run_job
from src.plain_yaml import read_settings
from src.plan import Plan
from src.report.caption_images import _gallery_captions
from src.report.sources import Missing, Sources
from src.sweep.runs import read_run
from src.theory import __main__ as theory
from src.trained import Trained
from tests.command_line import plan
from tests.made_up_captions import write_captioned
from tests.made_up_data import write_idx
from tests.test_checkpoints import RunsCode, with_hash, zipped

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def trap(tmp_path: Path) -> RunsCode:
    """Makes a folder wherever it is unpickled as code."""
    return RunsCode(tmp_path / "ran")


@pytest.fixture(scope="module")
def finished(on_idx: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory) -> Plan:
    """A finished run of two epochs, whose last one is the better or not."""
    asked = plan(
        *(*on_idx, "epochs=2", "limit_train=40", "limit_val=40", "limit_test=40", "threads=1"),
        *("progress=false", f"output_dir={tmp_path_factory.mktemp('out')}"),
    )
    assert run_job(asked.cfg, asked.run, print, show_bar=False)["status"] == "done"
    return asked


@pytest.fixture
def sweep(finished: Plan, tmp_path: Path) -> Path:
    """A copy of the run's sweep."""
    return Path(shutil.copytree(finished.run.folder.parent, tmp_path / "sweep"))


def spoilt(path: Path, trap: RunsCode) -> Iterator[bytes]:
    """A checkpoint with code in every place where it holds something, and code alone; hashes are right."""
    content = read_checkpoint(path)
    yield from (with_hash(zipped({**content, key: trap})) for key in ("state_dict", "hyper_parameters", "x"))
    yield with_hash(zipped(trap))
    yield with_hash(pickle.dumps({"state_dict": trap}))
    yield pickle.dumps(trap)
    buffer = io.BytesIO()
    torch.save({**content, "state_dict": trap}, buffer, _use_new_zipfile_serialization=False)
    yield buffer.getvalue()


def test_the_trap_works(trap: RunsCode) -> None:
    torch.load(io.BytesIO(zipped({"x": trap}) + b"\0\0"), weights_only=False)
    assert trap.folder.exists()


def test_no_door_runs_the_code_in_a_checkpoint(
    sweep: Path,
    trap: RunsCode,
    tmp_path: Path,
    capsys: pytest.CaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (run,) = (path.parent for path in sweep.glob("*/config.yaml"))
    last, best = (run / "checkpoints" / f"{name}.ckpt" for name in ("last", "best"))
    picture = tmp_path / "a.png"
    image = np.zeros((28, 28), np.uint8)
    encoder_module.Image.fromarray(image).save(picture)

    def refused(main: Callable[..., Any], *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", ["door", *arguments])
        try:
            status = main(list(arguments)) if main is not filters.main else main()
        except SystemExit as error:
            status = error.code
        printed = capsys.readouterr()
        assert status not in (0, None), (arguments, printed)
        assert "Traceback" not in printed.err
        assert "checkpoint" in printed.err + printed.out

    for bytes_ in spoilt(best, trap):
        last.write_bytes(bytes_)
        best.write_bytes(bytes_)
        for given in (best, run, sweep):
            refused(predict.predict, f"checkpoint={given}", f"inputs={picture}", f"output={tmp_path / 'p'}")
        refused(filters.main, f"checkpoint={best}", f"out={tmp_path / 'f'}")
        refused(theory.main, "layers", str(best))
        with pytest.raises(Missing, match="checkpoint"):
            Sources(sweep=sweep).classifier()
        assert not trap.folder.exists()


def test_a_run_goes_on_from_no_code(finished: Plan, trap: RunsCode, tmp_path: Path) -> None:
    asked = plan(
        *(f"{key}={value}" for key, value in (("data", "idx"), ("data.root", finished.cfg.data.root))),
        *("data.val_size=100", "accelerator=cpu", "epochs=2", "limit_train=40", "limit_val=40"),
        *("limit_test=40", "threads=1", "progress=false", f"output_dir={tmp_path / 'out'}"),
    )
    shutil.copytree(finished.run.folder, asked.run.folder)
    for bytes_ in list(spoilt(asked.run.best, trap))[:4]:
        asked.run.results_file.unlink()
        asked.run.last.write_bytes(bytes_)
        asked.run.best.write_bytes(bytes_)
        said: list[str] = []
        results = run_job(asked.cfg, asked.run, said.append, show_bar=False)
        assert results["status"] == "done"
        assert all("going on from an earlier state" in line for line in said)
        assert len(said) == 2
        assert results["val_loss"] == (finished.run.results() or {})["val_loss"]
        assert not trap.folder.exists()


def test_no_code_in_weights_or_stored_features_is_run(
    trap: RunsCode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights.pth"
    for content in (zipped({"conv1.weight": trap}) + b"\0\0", pickle.dumps(trap)):
        weights.write_bytes(content)
        with pytest.raises(EncoderError, match="is not a state dict"):
            build_encoder("resnet18", 64, weights)
    # A file that lies where torch's hub keeps what it fetched: its hash is compared, and no code is loaded.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))
    kept = tmp_path / "hub" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(zipped({"conv1.weight": trap}) + b"\0\0")
    with pytest.raises(EncoderError, match=r"resnet18-f37072fd\.pth is damaged or not the published file"):
        build_encoder("resnet18", 64)
    with monkeypatch.context() as patched:  # as if it had the right one
        right = SimpleNamespace(hexdigest=lambda: "f37072fd")
        patched.setattr(encoder_module.hashlib, "file_digest", lambda *_: right)
        with pytest.raises(EncoderError, match="is not a state dict"):
            build_encoder("resnet18", 64)
    # Stored features that are a pickle are made again.
    data = write_captioned(tmp_path / "squares", train=1, val=1, test=1)
    paths = sorted((data / "images").glob("*.png"))
    stored = images_of(paths, 32, tmp_path / "cache", say=lambda _: None)
    (file,) = (tmp_path / "cache").glob("*.npy")
    expected = np.array(stored)
    del stored
    for spoil in (pickle.dumps(trap), with_objects(trap)):
        file.write_bytes(spoil)
        assert np.array_equal(images_of(paths, 32, tmp_path / "cache", say=lambda _: None), expected)
    assert not trap.folder.exists()


def with_objects(trap: RunsCode) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, np.array([trap], dtype=object), allow_pickle=True)
    return buffer.getvalue()


def test_a_wrong_file_from_the_hub_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer(io.BytesIO):
        def info(self) -> Message:
            return Message()

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", lambda *_args, **_options: Answer(b"something else"))
    with pytest.raises(EncoderError, match="invalid hash value"):
        build_encoder("resnet18", 64)
    assert not list((tmp_path / "hub" / "checkpoints").iterdir())


SETTINGS = "task: classify\ndropout: 0.1\nlr: 0.1\n"
# 9 ** 12 texts in a kilobyte
LEVELS = [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, 12)]
CONFIGS = {
    "a tag of Python's": "data:\n  name: !!python/object/apply:os.mkdir [RAN]\n",
    "a target": "data:\n  name:\n    _target_: os.mkdir\n    _args_: [RAN]\n",
    "the environment": "data:\n  name: ${oc.env:SECRET}\ngallery: ['${oc.env:SECRET}']\n",
    "a bomb": f"a0: &a0 [{', '.join('x' * 9)}]\n" + "".join(LEVELS),
}


@pytest.mark.parametrize("kind", CONFIGS)
def test_nothing_in_a_settings_file_is_run_or_looked_up(
    kind: str, sweep: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "the password")
    (run,) = (path.parent for path in sweep.glob("*/config.yaml"))
    (run / "config.yaml").write_text(SETTINGS + CONFIGS[kind].replace("RAN", str(tmp_path / "ran")))
    (run / "results.json").unlink()
    (run / "captions.json").write_text(json.dumps([{"image_id": "the password", "caption": "c"}] * 2))
    tracemalloc.start()
    found = read_run(run)
    trained = Trained(run / "checkpoints" / "best.ckpt", "classify", {}, {})
    seen = [found.settings, found.cause, trained.data, _gallery_captions(run) if kind != "a target" else None]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100e6
    assert trained.data in (None, "${oc.env:SECRET}")
    assert not (tmp_path / "ran").exists()
    if kind == "the environment":
        assert "the password" not in str(seen)
    elif kind != "a target":
        assert found.status == "unreadable"
    for spoilt_list in (
        "!!python/object/apply:os.mkdir [{ran}]",
        "{{input: !!python/name:os.mkdir , layers: []}}",
    ):
        path = tmp_path / "layers.yaml"
        path.write_text(spoilt_list.format(ran=tmp_path / "ran"))
        assert theory.main(["layers", str(path)]) == 2
    assert not (tmp_path / "ran").exists()


def test_settings_are_read_as_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("lr: 1e-4\nname: ${data.name}\n")
    assert read_settings(path) == {"lr": 1e-4, "name": "${data.name}"}
    os.mkfifo(tmp_path / "pipe")
    for other in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="is not a file"):
            read_settings(other)


def packed_deb(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
    """A Debian package put together by hand, with whatever it likes inside."""

    def tar(content: list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
            for info, data in content:
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return buffer.getvalue()

    control = b"Package: x\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
    parts = {"debian-binary": b"2.0\n", "control.tar.gz": tar([(tarfile.TarInfo("./control"), control)])}
    parts["data.tar.gz"] = tar(members)
    body = b"!<arch>\n"
    for name, data in parts.items():
        body += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data
        body += b"\n" if len(data) % 2 else b""
    path.write_bytes(body)


@pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")
def test_a_package_cannot_leave_its_folder_nor_stop_the_reader(tmp_path: Path) -> None:
    work, outside = tmp_path / "work", tmp_path / "outside"
    for folder in (work, outside):
        folder.mkdir()
    link = tarfile.TarInfo("./link")
    link.type, link.linkname = tarfile.SYMTYPE, str(outside)
    pipe = tarfile.TarInfo(f"./{download.PACKAGE_FOLDER}/train-images-idx3-ubyte.gz")
    pipe.type = tarfile.FIFOTYPE
    members = [(tarfile.TarInfo("../../outside/up"), b"x"), (link, b""), (tarfile.TarInfo("./link/in"), b"x")]
    members += [(tarfile.TarInfo(f"{outside}/absolute"), b"x"), (pipe, b"")]
    packed_deb(work / "a.deb", members)
    download._run(["dpkg-deb", "-x", str(work / "a.deb"), "unpacked"], work)
    assert list(outside.iterdir()) == []
    assert not (tmp_path / "up").exists()
    places = work / "unpacked" / download.PACKAGE_FOLDER
    places.mkdir(parents=True, exist_ok=True)
    packed = places / "train-images-idx3-ubyte.gz"
    if not packed.exists():  # dpkg-deb had stopped before
        os.mkfifo(packed)
    with pytest.raises(OSError, match="is not a file"):
        download._from_folder(places, "train-images-idx3-ubyte")


def test_own_data_do_not_unpack_to_more_than_they_promise(tmp_path: Path) -> None:
    name = "train-labels-idx1-ubyte"
    write_idx(tmp_path / name, np.zeros(10))
    honest = (tmp_path / name).read_bytes()
    (tmp_path / name).unlink()
    packed = tmp_path / f"{name}.gz"
    packed.write_bytes(gzip.compress(honest))
    assert len(read_idx(tmp_path / name)) == 10
    packed.write_bytes(gzip.compress(honest + bytes(10**8), 1))
    tracemalloc.start()
    with pytest.raises(DataUnavailable, match="unpacks to more than the 10 bytes it promises"):
        read_idx(tmp_path / name)
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()
    packed.write_bytes(gzip.compress(b"\0\0\x08\x02" + b"\x7f\xff\xff\xff" * 2))
    with pytest.raises(DataUnavailable, match="more than the memory"):
        read_idx(tmp_path / name)


PIP_AUDIT = """
import json, sys
report = sys.argv[sys.argv.index("--output") + 1]
pins = open(sys.argv[sys.argv.index("--requirement") + 1]).read().split()
assert "+" not in "".join(pins)
split = [pin.split("==") for pin in pins]
found = [{{"name": name, "version": version, "vulns": []}} for name, version in split]
{body}
json.dump({{"dependencies": found, "fixes": []}}, open(report, "w"))
"""
SKIPPED = 'found[0] = {"name": "a", "skip_reason": "not found there"}'
KNOWN = (
    'found[1]["vulns"] = [{"id": "PYSEC-1", "fix_versions": ["2.1"]}, {"id": "PYSEC-2", "fix_versions": []}]'
)


@pytest.mark.parametrize(
    ("body", "status", "out", "err"),
    [
        ("", 0, "2 of 2 packages asked about, 0 known vulnerabilities.", ""),
        (
            f"{KNOWN}",
            1,
            "b 2.0: PYSEC-1, mended in 2.1\nb 2.0: PYSEC-2, mended in no version yet\n2 of 2 packages",
            "",
        ),
        (
            "sys.exit('ConnectionError: no route')",
            2,
            "",
            "Nobody could be asked: python: ConnectionError: no route.",
        ),
        (SKIPPED, 2, "1 of 2 packages asked about, 0 known", "Not asked about: a (not found there)."),
        ("found = []", 2, "", "pip-audit left no report"),
    ],
)
def test_the_audit_says_when_nobody_could_be_asked(
    *, body: str, status: int, out: str, err: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    pins, tool, python = tmp_path / "pins.txt", tmp_path / "tool.py", tmp_path / "python"
    pins.write_text("# exact\na==1.0+cpu\nb==2.0\n")
    tool.write_text(PIP_AUDIT.format(body=body))
    python.symlink_to(sys.executable)
    assert audit.audit(pins, [str(python), str(tool)]) == status
    printed = capsys.readouterr()
    assert out in printed.out
    assert err in printed.err
    assert ("either way" in printed.err) == (status == 2)


def test_an_audit_that_cannot_be_installed_is_no_all_clear(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(command: list[str], **_: Any) -> Any:
        wrong = "pip" in command
        return subprocess.CompletedProcess(
            command, int(wrong), "", "ERROR: no matching pip-audit" if wrong else ""
        )

    monkeypatch.setattr(audit.subprocess, "run", no_network)
    assert audit.main([]) == 2
    assert "Nobody could be asked: python: ERROR: no matching pip-audit." in capsys.readouterr().err
