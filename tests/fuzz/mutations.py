"""Valid inputs, spoilt: bytes, texts, and trees of JSON, always the same for the same generator."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

TEXTS = (
    *(
        "",
        " ",
        "\n",
        "a\nb",
        "\0",
        "\x1b[31mred",
        "\u202egnp",
        "\ud800",
        "\udcff.png",
        "\u00e9\u0301",
        "漢字",
    ),
    *("../../secret.png", "/etc/passwd", "..\\a.png", "C:\\a.png", "~nobody/x", "a//b.png", ".", "..", "..."),
    *(
        "<script>document.title='ran'</script>",
        "[x](javascript:alert(1))",
        "![](http://x/y.png)",
        "${oc.env:HOME}",
    ),
    *("x" * 300, "x" * 5000, "1e999", "9" * 5000, "-1", "0", "nan", "inf", "null", "true", "???", "1_000"),
)
NUMBERS = (
    *(0, 1, -1, 0.5, 1.0, 1.5, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, -1e308, 5e-324, 1e-9),
    *(float("nan"), float("inf"), float("-inf"), 15.0, 42),
)
BYTES = (
    *(b"", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xff", b"\x80", b"\x00" * 64, b"\xff" * 16, b"\n", b"\r\n"),
    *(
        b"{",
        b"[",
        b'"',
        b"]" * 50,
        b"[" * 2000,
        b"NaN",
        b"Infinity",
        b"1e999",
        b"9" * 5000,
        b"&a [*a, *a]",
        b"!!python/object",
    ),
)


def value(random: Random, deep: int = 2) -> Any:
    """Anything that JSON can say."""
    kind = random.randrange(9 if deep else 6)
    if kind < 2:
        return random.choice(TEXTS)
    if kind < 4:
        return random.choice(NUMBERS)
    if kind < 6:
        return random.choice((None, True, False))
    if kind == 6:
        nested: Any = random.choice(NUMBERS)
        for _ in range(random.choice((3, 30, 300, 900))):
            nested = [nested] if random.random() < 0.5 else {"a": nested}
        return nested
    if kind == 7:
        return [value(random, deep - 1) for _ in range(random.randrange(4))]
    return {
        random.choice((*TEXTS[:12], "a", "lr")): value(random, deep - 1) for _ in range(random.randrange(4))
    }


def tree(random: Random, content: Any, times: int = 1) -> Any:
    """A copy of a JSON value with some of its parts changed, taken out, doubled, or moved elsewhere."""
    content = json.loads(json.dumps(content))
    for _ in range(times):
        places = [place for place in _places(content) if isinstance(place[0], dict | list)]
        if not places:
            return value(random)
        parent, key = random.choice(places)
        how = random.randrange(6)
        if how == 0:
            del parent[key]
        elif how == 1 and isinstance(parent, list):
            parent.insert(key, parent[key])
        elif how == 2:
            other, there = random.choice(places)
            part = other[there] if _has(other, there) else None
            parent[key] = json.loads(json.dumps(part))  # a copy, or the tree could come to hold itself
        elif how == 3 and isinstance(parent, dict):
            parent[random.choice(TEXTS)] = parent.pop(key)
        elif how == 4 and isinstance(parent[key], str):
            parent[key] = text(random, parent[key])
        else:
            parent[key] = value(random)
    return content


def _places(content: Any, deep: int = 12) -> list[tuple[Any, Any]]:
    """Every part of a tree, as its parent and its key there."""
    keys: Sequence[Any] = ()
    if deep and isinstance(content, dict):
        keys = list(content)
    elif deep and isinstance(content, list):
        keys = range(min(len(content), 20))
    return [place for key in keys for place in [(content, key), *_places(content[key], deep - 1)]]


def _has(parent: Any, key: Any) -> bool:
    return key in parent if isinstance(parent, dict) else key < len(parent)


def text(random: Random, given: str) -> str:
    """A text with a piece put in, taken out or replaced."""
    first = random.randint(0, len(given))
    last = min(len(given), first + random.choice((0, 0, 1, 3, len(given))))
    return (
        given[:first]
        + random.choice((*TEXTS, "=", ",", "'", '"', "[", "{", "(", "*", "#", "x", ":"))
        + given[last:]
    )


def raw(random: Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """Bytes with a few flips, pieces cut out, doubled, put in, or spliced with another input."""
    spoilt = bytearray(data)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        at = random.randint(0, len(spoilt))
        length = random.choice((1, 2, 4, 16, 64, 1024))
        how = random.randrange(8)
        if how < 3 and at < len(spoilt):
            spoilt[at] ^= 1 << random.randrange(8)
        elif how == 3 and at < len(spoilt):
            spoilt[at] = random.choice((0, 1, 0x7F, 0x80, 0xFF, random.randrange(256)))
        elif how == 4:
            del spoilt[at : at + length]
        elif how == 5:
            spoilt[at:at] = spoilt[at : at + length]
        elif how == 6:
            spoilt[at:at] = random.choice(BYTES)
        elif others:
            other = random.choice(others)
            spoilt[at:] = other[random.randint(0, len(other)) :]
        else:
            del spoilt[at:]
    return bytes(spoilt)


def document(random: Random, content: Any, dump: Callable[[Any], str] = json.dumps) -> bytes:
    """A tree as its file: the tree changed, the file's bytes changed, or both."""
    how = random.randrange(5)
    if how < 4:
        content = tree(random, content, random.choice((1, 1, 2, 5)))
    try:
        said = dump(content)
    except RecursionError:  # YAML's writer is not made for nine hundred levels; JSON is YAML, too
        said = json.dumps(content)
    data = said.encode("utf-8", "surrogatepass")
    return raw(random, data) if how > 2 else data


def words(random: Random, valid: Sequence[Sequence[str]], keys: Sequence[str]) -> list[str]:
    """A command line: valid ones mixed, words changed, values put to other keys."""
    found = list(random.choice(valid))
    for _ in range(random.choice((1, 1, 2, 4))):
        at = random.randint(0, len(found))
        how = random.randrange(6)
        key = random.choice(keys)
        if how == 0 and at < len(found):
            found[at] = text(random, found[at])
        elif how == 1:
            found.insert(at, f"{key}={random.choice(TEXTS)}")
        elif how == 2:
            found.insert(at, f"{key}={random.choice(NUMBERS)}")
        elif how == 3:
            found[at:at] = random.choice(valid)
        elif how == 4 and at < len(found):
            del found[at]
        else:
            found.insert(
                at, random.choice((random.choice(TEXTS), key, f"{key}=", f"+{key}=1", f"~{key}", f"--{key}"))
            )
    # No NUL and no half of a letter that stands for no byte, as on a command line; nor the whole disk.
    found = [
        "x" if word.rstrip("*").endswith(("=/", "[/")) or word.rstrip("*") == "/" else word for word in found
    ]
    return ["".join(c for c in word if c != "\0" and not "\ud800" <= c < "\udc80") for word in found]
