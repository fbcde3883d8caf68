"""Captioned images in Karpathy's JSON, the form that Sydney, UCM, RSICD, Flickr8k/30k and COCO share.

    {"images": [{"filename": "1.jpg", "split": "train", "sentences": [{"tokens": [...], "raw": "..."}, ...]}]}

Beside it lies the folder `images/`. Optional keys of an image: `filepath` (a folder, as in COCO's), `class`
(its scene) and `objects`, the things its captions name and where they are, as the built-in scenes have them:
[{"words": ["plane", "planes"], "box": [x0, y0, x1, y1]}], in fractions of width and height.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from src.captioning.vocabulary import tokenize
from src.files import write_atomically
from src.images import MAX_PIXELS, BrokenImage, read_image
from src.paths import exists, is_file
from src.pixels import Remark, sentences
from src.value_range import AUTO
from src.words import plain, quoted

SPLITS = {"train": "train", "restval": "train", "val": "val", "test": "test"}
LARGEST_FILE = (
    2**30
)  # bytes; COCO's, the largest in use, take 0.15 GB, and reading takes ten times as much memory
_LISTED = 20  # names in one message; the others are counted


class CaptionDataError(ValueError):
    """Caption data that cannot be used, and why."""


@dataclass(frozen=True)
class NamedThing:
    """What a caption can name, and where it is.

    Attributes:
        words: the tokens that stand for it ("plane", "planes").
        box: x0, y0, x1, y1 as fractions of the image's width and height, from its upper left corner.
    """

    words: tuple[str, ...]
    box: tuple[float, float, float, float]

    @property
    def name(self) -> str:
        """The first of its words."""
        return self.words[0]


@dataclass(frozen=True)
class CaptionedImage:
    """One image with its captions.

    Attributes:
        filename: as in the JSON.
        path: where the file should be (`preflight` looks).
        split: "train", "val" or "test".
        captions: one or more, tokenized, none empty.
        things: what they name, where that is known.
        group: the image's class, where that is known.
    """

    filename: str
    path: Path
    split: str
    captions: tuple[tuple[str, ...], ...]
    things: tuple[NamedThing, ...] = ()
    group: str | None = None


def read_karpathy(root: str | Path, captions: str | None = None) -> list[CaptionedImage]:
    """Read all images of a data set, in the JSON's order. The image files are not opened: see `preflight`.

    Captions are taken from `tokens`, which data sets corrected by hand (Sydney's `raw` has misspellings
    that its `tokens` have not), else from `raw`. Empty ones are dropped; `restval` counts as train.

    Args:
        root: the data set's folder, with `dataset.json` and `images/`.
        captions: another JSON file, relative to `root` or to the working folder.

    Raises:
        CaptionDataError: the JSON is missing or malformed, or an entry cannot be used.
    """
    root = Path(root)
    source = root / "dataset.json" if captions is None else root / captions
    if captions is not None and not is_file(source) and is_file(Path(captions)):
        source = Path(captions)
    entries, name = _entries(source), plain(str(source), 1000)
    images: list[CaptionedImage] = []
    wordless: list[str] = []
    seen: dict[Path, str] = {}
    for number, entry in enumerate(entries):
        image = _image(entry, root, f"{name}, images[{number}]")
        if image.path in seen:
            raise CaptionDataError(
                f"{name} lists the image {quoted(image.filename)} twice: keep one entry of it"
            )
        seen[image.path] = image.filename
        if not image.captions:
            wordless.append(plain(image.filename, 100))
        images.append(image)
    if wordless:
        raise CaptionDataError(
            f"{name} has no caption with a word for {_listed(wordless)}: caption them or take them out"
        )
    if not any(image.split == "train" for image in images):
        raise CaptionDataError(f"{name} has no image with split train or restval: nothing could be learned")
    return images


def _entries(source: Path) -> list[Any]:
    """The list under `images`."""
    name = plain(str(source), 1000)
    try:
        if exists(source) and not source.is_file():  # reading a pipe would wait for ever
            raise CaptionDataError(f"the caption file {name} cannot be read: it is no file")
        if source.stat().st_size > LARGEST_FILE:
            raise CaptionDataError(
                f"the caption file {name} is larger than {LARGEST_FILE // 2**20:,} MiB: split it"
            )
        content = json.loads(source.read_text(encoding="utf-8-sig"), object_pairs_hook=_object)
    except CaptionDataError:
        raise
    except FileNotFoundError as error:
        raise CaptionDataError(
            f"there is no caption file {name}: data.root names a folder with dataset.json and images/"
        ) from error
    except OSError as error:
        raise CaptionDataError(
            f"the caption file {name} cannot be read: {error.strerror or error}"
        ) from error
    except (ValueError, RecursionError) as error:  # no JSON, no UTF-8
        raise CaptionDataError(f"the caption file {name} is not JSON: {plain(str(error))}") from error
    entries = content.get("images") if isinstance(content, dict) else None
    if not isinstance(entries, list) or not entries:
        raise CaptionDataError(f"the caption file {name} has no list `images` with an entry in it")
    return entries


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object. Python would take the last of two equal keys: an image would change its split unseen."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"an object has the key {quoted(twice)} twice")
    return found


def _image(entry: Any, root: Path, where: str) -> CaptionedImage:
    """One entry of the JSON; `where` begins the messages about it."""
    if not isinstance(entry, dict):
        raise CaptionDataError(f"{where} is not an object with filename, split and sentences")
    filename = _value(entry, "filename", str, where)
    if not filename:
        raise CaptionDataError(f"{where} has an empty `filename`")
    where = f"{where} ({quoted(filename, 100)})"
    if any("\ud800" <= letter <= "\udfff" for letter in filename):
        raise CaptionDataError(f"{where} has halves of letters in its `filename`: rename the file in UTF-8")
    split = _value(entry, "split", str, where)
    if split not in SPLITS:
        raise CaptionDataError(
            f"{where} has the unknown split {quoted(split)}: it must be one of {', '.join(SPLITS)}"
        )
    sentences = _value(entry, "sentences", list, where)
    captions = (
        _caption(sentence, f"{where}, sentence {number}") for number, sentence in enumerate(sentences)
    )
    folder = _value(entry, "filepath", str, where) if entry.get("filepath") is not None else ""
    things = _value(entry, "objects", list, where) if entry.get("objects") is not None else []
    return CaptionedImage(
        filename=filename,
        path=_path(root, folder, filename, where),
        split=SPLITS[split],
        captions=tuple(caption for caption in captions if caption),
        things=tuple(_thing(thing, f"{where}, object {number}") for number, thing in enumerate(things)),
        group=None if entry.get("class") is None else plain(entry["class"]),
    )


def _caption(sentence: Any, where: str) -> tuple[str, ...]:
    """The tokens of one sentence; none where it is empty."""
    if not isinstance(sentence, dict) or not ("tokens" in sentence or "raw" in sentence):
        raise CaptionDataError(f"{where} has neither `tokens` nor `raw`")
    tokens, raw = sentence.get("tokens") or [], sentence.get("raw") or ""
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise CaptionDataError(f"{where} has `tokens` that are not a list of words")
    if not isinstance(raw, str):
        raise CaptionDataError(f"{where} has a `raw` that is no text")
    return tuple(tokenize(" ".join(tokens)) or tokenize(raw))


def _thing(thing: Any, where: str) -> NamedThing:
    words = thing.get("words") if isinstance(thing, dict) else None
    box = thing.get("box") if isinstance(thing, dict) else None
    if not isinstance(words, list) or not words or not all(map(_is_word, words)):
        raise CaptionDataError(f"{where} has no `words`, a list such as ['plane', 'planes']")
    sides = box if isinstance(box, list) and len(box) == 4 else []
    numbers = [side for side in sides if isinstance(side, int | float) and not isinstance(side, bool)]
    x0, y0, x1, y1 = numbers if len(numbers) == 4 else (0, 0, 0, 0)
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):  # a NaN fails, too; 10**400 has no float
        raise CaptionDataError(
            f"{where} has the box {quoted(box)}, not x0 < x1 and y0 < y1 as fractions from 0 to 1"
        )
    return NamedThing(tuple(words), (float(x0), float(y0), float(x1), float(y1)))


def _is_word(word: Any) -> bool:
    return isinstance(word, str) and bool(word) and word.isprintable()  # it is drawn beside its box


def _value(entry: dict[str, Any], key: str, kind: type, where: str) -> Any:
    if key not in entry:
        raise CaptionDataError(f"{where} has no key `{key}`")
    if not isinstance(entry[key], kind):
        name = "a list" if kind is list else "a text"
        raise CaptionDataError(f"{where} has a `{key}` that is not {name}: {quoted(entry[key])}")
    return entry[key]


def _path(root: Path, folder: str, filename: str, where: str) -> Path:
    """Where the image lies: with or without `images/`, with or without its `filepath`."""
    for part in (folder, filename):
        # Windows' rules, too: a backslash or a drive must not lead out of the folder there.
        parts = {*PurePosixPath(part).parts, *PureWindowsPath(part).parts}
        rooted = PurePosixPath(part).is_absolute() or PureWindowsPath(part).anchor
        if ".." in parts or rooted or "\0" in part:
            raise CaptionDataError(
                f"{where} leads out of the data set's folder by {quoted(part)}: it may not"
            )
    places = [root / "images" / folder / filename, root / folder / filename, root / "images" / filename]
    return next((place for place in places if is_file(place)), places[0])


def preflight(
    images: Iterable[CaptionedImage | Path],
    *,
    record: Path | None = None,
    workers: int = 4,
    max_pixels: int = MAX_PIXELS,
    value_range: str = AUTO,
    say: Callable[[str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Open every image file once, so that a broken one is known before hours are spent.

    Args:
        record: a JSON file that keeps which files, by size and time of change, were found good; those are
            not opened again. Missing or damaged, it is made anew.
        workers: threads (decoders leave Python's lock).
        max_pixels: as `src.images.read_image`.
        value_range: the same.
        say: takes a line on each kind of image that is not read as it is stored.
        progress: is told how many files are done and how many there are to open.

    Raises:
        CaptionDataError: naming the files that are missing, truncated, too large or no images: the first
            twenty, and the number of the others.
    """
    paths = list(dict.fromkeys(image if isinstance(image, Path) else image.path for image in images))
    known = _read_record(record)
    stamps = {path: _stamp(path, max_pixels, value_range) for path in paths}
    todo = [path for path in paths if stamps[path] is None or known.get(_key(path)) != stamps[path]]

    remarks: list[tuple[Path, Remark]] = []

    def fault(path: Path) -> str | None:
        try:
            remarks.extend((path, remark) for remark in read_image(path, max_pixels, value_range)[1])
        except BrokenImage as error:
            return str(error)
        return None

    faults: list[str] = []
    good: dict[str, Any] = {}
    with ThreadPoolExecutor(workers) as pool:
        for done, (path, said) in enumerate(zip(todo, pool.map(fault, todo), strict=True), start=1):
            if said is None:
                good[_key(path)] = stamps[path]
            else:
                faults.append(said)
            if progress is not None:
                progress(done, len(todo))
    if record is not None and good:
        write_atomically(record, json.dumps({**known, **good}))
    if say is not None:
        for line in sentences(sorted(remarks, key=lambda found: found[0])):
            say(line)
    if faults:
        raise CaptionDataError(
            f"{len(faults)} of {len(paths)} images cannot be used: {_listed(faults, '; ')}"
        )


def _key(path: Path) -> str:
    return str(path.absolute())


def _stamp(path: Path, max_pixels: int, value_range: str) -> list[int | str] | None:
    """What changes when the file, or what is asked of it, does; None where there is no file."""
    try:
        status = path.stat()
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns, max_pixels, value_range]


def _read_record(record: Path | None) -> dict[str, Any]:
    if record is None:
        return {}
    try:
        content = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _listed(names: Sequence[str], separator: str = ", ") -> str:
    rest = len(names) - _LISTED
    return separator.join(names[:_LISTED]) + (f"{separator}and {rest} more" if rest > 0 else "")
