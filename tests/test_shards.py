"""Images out of tar shards: features and captions of the folder format, resume by shard, errors that name a member."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import time
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from src import tars
from src.captioning import features, store
from src.captioning.captioned import CaptionedImage
from src.captioning.encoder import Encoder, build_encoder
from src.captioning.features import features_of, means_of
from src.captioning.karpathy import read_karpathy
from src.captioning.shards import read_shards
from src.encode import EncodeSettings, encode_shards
from src.entry_point import CONF, UserError
from tests.command_line import Command, run
from tests.made_up_captions import write_captioned


def encoder() -> Encoder:
    return build_encoder({"_target_": "src.captioning.backbones.Tiny"}, 48)


def pack(folder: Path, root: Path) -> list[CaptionedImage]:
    """Write the data set of a folder as two shards a split, with a JSON or a text beside an image."""
    images = read_karpathy(folder)
    texts = {
        entry["filename"]: [sentence["raw"] for sentence in entry["sentences"]]
        for entry in json.loads((folder / "dataset.json").read_text())["images"]
    }
    root.mkdir()
    for split in ("train", "val", "test"):
        mine = [image for image in images if image.split == split]
        for number, part in enumerate((mine[: len(mine) // 2], mine[len(mine) // 2 :])):
            with tarfile.open(root / f"{split}-{number:06d}.tar", "w") as tar:
                for image in part:
                    tar.add(str(image.path), image.filename)
                    captions = texts[image.filename]
                    kind, text = (
                        ("json", json.dumps({"captions": captions}))
                        if number
                        else ("txt", "\n".join(captions))
                    )
                    add(tar, f"{Path(image.filename).stem}.{kind}", text.encode())
    return images


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


@pytest.fixture
def packed(tmp_path: Path) -> list[CaptionedImage]:
    return pack(write_captioned(tmp_path / "folder"), tmp_path / "shards")


def test_features_and_captions_are_those_of_the_folder_format(
    packed: list[CaptionedImage], tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    images = sorted(
        read_shards(str(tmp_path / "shards"), str(cache)), key=lambda image: int(image.filename[:-4])
    )
    for image, other in zip(images, packed, strict=True):
        assert (image.filename, image.split, image.captions) == (other.filename, other.split, other.captions)
    for pixels in (False, True):
        found = features_of([image.path for image in images], encoder(), cache, pixels=pixels)
        expected = features_of([image.path for image in packed], encoder(), cache, pixels=pixels)
        np.testing.assert_array_equal(np.asarray(found), expected)
        rows = np.array([33, 2, 17, 2])
        np.testing.assert_array_equal(found[rows], expected[rows])
        np.testing.assert_array_equal(np.asarray(found[3:9]), expected[3:9])
    regions = features_of([image.path for image in packed], encoder(), cache)
    np.testing.assert_array_equal(means_of(regions), regions.mean(1, dtype=np.float32))
    found = features_of([image.path for image in images], encoder(), cache)
    np.testing.assert_array_equal(np.asarray(means_of(found)), means_of(regions))


def test_what_is_stored_opens_no_shard_and_a_stopped_command_goes_on_by_shard(
    packed: list[CaptionedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, cache = str(tmp_path / "shards"), tmp_path / "cache"
    first = read_shards(root, str(cache), shard=0)
    features_of([image.path for image in first], encoder(), cache)
    computed: list[int] = []
    monkeypatch.setattr(features, "check_images", lambda paths, *_: computed.append(len(paths)))
    images = read_shards(root, str(cache))
    features_of([image.path for image in images], encoder(), cache)
    assert len(computed) == 5
    assert sum(computed) == len(images) - len(first)
    monkeypatch.setattr(tars.Tar, "members", None)
    monkeypatch.setattr(tars.Tar, "read", None)
    again = [image.path for image in read_shards(root, str(cache))]
    assert len(features_of(again, encoder(), cache)) == len(images)


def test_a_remote_shard_is_fetched_once(
    packed: list[CaptionedImage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = fsspec.filesystem("memory")
    fetched: list[dict[str, int]] = []
    whole = system.cat_file

    def cat_file(path: str, **part: int) -> bytes:
        fetched.append(part)
        return bytes(whole(path, **part))

    monkeypatch.setattr(system, "cat_file", cat_file)
    system.put(f"{tmp_path}/shards/", "/shards/", recursive=True)
    try:
        ConfigStore.instance().store("encode_settings", EncodeSettings)
        with initialize_config_dir(str(CONF), version_base="1.3"):
            cfg = compose(
                "encode",
                [
                    "data.root=memory://shards/test-*.tar",
                    f"encoder.cache={tmp_path}/cache",
                    "encoder=tiny",
                    "encoder.size=32",
                    "progress=false",
                ],
            )
        encode_shards(cfg)
        assert fetched == [{}, {}]  # two shards, each whole
        assert tars.Tar.holding == []
    finally:
        system.rm("/shards", recursive=True)


def test_splits_by_pattern_and_a_shard_that_is_not_there(
    packed: list[CaptionedImage], tmp_path: Path
) -> None:
    root, cache = str(tmp_path / "shards"), str(tmp_path / "cache")
    images = read_shards(root, cache, splits={"val": "train-*1.tar"})
    assert sum(image.split == "val" for image in images) == 8 + 12
    with pytest.raises(UserError, match=r"shard=6: .* has 6 shards, 0 to 5"):
        read_shards(root, cache, shard=6)
    with pytest.raises(UserError, match=r"holds no \.tar file"):
        read_shards(str(tmp_path / "folder"), cache)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("lonely.png", b"x", r"member lonely\.png: it has no caption"),
        ("lonely.txt", b"a house", r"member lonely\.txt: it has no image"),
        ("../../evil.png", b"x", r"member \.\./\.\./evil\.png: its name leads out"),
        ("/evil.png", b"x", r"member /evil\.png: its name leads out"),
        ("0.json", b'{"captions": "a"}', r"member 0\.json: 'a' is not a list"),
        ("0.json", b"{", r"member 0\.json: "),
        ("0.jpg", b"x", r"member 0\.jpg: there is 0\.png already"),
    ],
)
def test_a_bad_member_is_named_and_the_other_shards_are_kept(
    packed: list[CaptionedImage], tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    cache = tmp_path / "cache"
    with tarfile.open(tmp_path / "shards" / "train-000000.tar", "a") as tar:
        add(tar, name, content)
    with pytest.raises(UserError, match=r"train-000000\.tar, " + message):
        read_shards(str(tmp_path / "shards"), str(cache))
    assert len(list(cache.glob("shard-*.json"))) == 5


def test_a_shard_of_other_files_is_named_and_a_text_is_no_id(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        add(tar, "img.0001.jpg", b"x")
    with pytest.raises(UserError, match=r"train-0\.tar has no image beside captions"):
        read_shards(str(tmp_path), str(tmp_path / "cache"))
    with tarfile.open(tmp_path / "train-0.tar", "w") as tar:
        add(tar, "0.jpg", b"x")
        add(tar, "0.json", b'{"caption": "a house", "id": "web_0"}')
    (image,) = read_shards(str(tmp_path), str(tmp_path / "cache"))
    assert (image.id, image.captions) == (None, (("a", "house"),))


@pytest.mark.parametrize("cut", [0.5, 1536, 0, -1])
def test_a_cut_shard_and_a_broken_image_are_named(
    packed: list[CaptionedImage], tmp_path: Path, cut: float
) -> None:
    cache, shard = tmp_path / "cache", tmp_path / "shards" / "train-000000.tar"
    whole = shard.read_bytes()
    if cut == -1:  # between two members
        with tarfile.open(shard) as tar:
            cut = tar.getmembers()[-1].offset
    shard.write_bytes(whole[: int(cut * len(whole)) if cut < 1 else int(cut)])
    with pytest.raises(UserError, match=r"the shard .*train-000000\.tar cannot be read"):
        read_shards(str(tmp_path / "shards"), str(cache))
    with tarfile.open(shard, "w") as tar:
        add(tar, "a.png", b"no image")
        add(tar, "a.txt", b"a house")
    images = [image.path for image in read_shards(str(tmp_path / "shards"), str(cache))]
    with pytest.raises(UserError, match=r"train-000000\.tar, member a\.png cannot be read"):
        features_of(images, encoder(), cache)
    assert len(list(cache.glob("features-*.npy"))) == 5  # the others are stored


def test_files_that_stay_as_they_are_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [tmp_path / str(number) for number in range(3)]
    for path in paths:
        path.write_bytes(path.name.encode())
    read: list[str] = []
    digest = store.file_digest

    def file_digest(path: Path) -> str:
        read.append(path.name)
        return digest(path)

    monkeypatch.setattr(store, "file_digest", file_digest)
    first = store.digests_of(paths, tmp_path)
    assert store.digests_of(paths, tmp_path) == first
    assert read.count("0") == 2  # changed too shortly ago to be remembered
    monkeypatch.setattr(store, "RECENT_NS", 0)
    store.digests_of(paths, tmp_path)
    read.clear()
    assert store.digests_of(paths, tmp_path) == first
    assert not set(read) & {"0", "1", "2"}
    shutil.copystat(paths[0], paths[1])
    paths[1].write_bytes(b"9")  # as long as it was
    changed = store.digests_of(paths, tmp_path)
    assert [ours == theirs for ours, theirs in zip(changed, first, strict=True)] == [True, False, True]


def test_commands_share_the_shards_and_one_that_was_killed_goes_on(
    packed: list[CaptionedImage], tmp_path: Path
) -> None:
    """Features by `-m`, by two commands at once of which one is killed, and by one command are the same bytes."""
    root = str(tmp_path / "shards")

    def arguments(cache: str, *more: str) -> tuple[str, ...]:
        where = (f"data.root={root}", f"encoder.cache={tmp_path / cache}", "encoder=tiny", "encoder.size=48")
        return (*where, "encoder.fine_tune=false", "accelerator=cpu", "fast=false", *more)

    def stored(cache: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (tmp_path / cache).glob("features-*.npy")}

    count = len(list((tmp_path / "shards").glob("*.tar")))
    swept = run("encode", *arguments("swept", "-m", f"shard=range(0,{count})"))
    assert (swept.status, len(stored("swept"))) == (0, count), swept.err
    killed, other = (Command("encode", *arguments("two")) for _ in range(2))
    while not stored("two"):
        time.sleep(0.005)
    killed.send(9)
    killed.end()
    assert other.end().status == 0
    assert stored("two") == stored("swept")
    wrong = run("encode", *arguments("wrong", "-m", f"shard=0,{count}"))
    assert (wrong.status, f"has {count} shards" in wrong.err) == (1, True)
