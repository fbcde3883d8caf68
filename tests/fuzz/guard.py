"""What an input may not do: take long, take much memory, reach out of its folder, start anything."""

from __future__ import annotations

import contextlib
import re
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SECONDS = 10.0  # of this process's CPU; most inputs take milliseconds
WAITING_S = 60.0  # by the clock, for what waits and uses no CPU
GROWTH = 512 * 2**20  # bytes that one input may add to the process's memory
ROOM = 1536 * 2**20  # bytes of address space beyond what the process has
LONGEST = 3000  # characters of a message
_STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "socket.connect")
_CHANGES = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.mkdir",
    "os.symlink",
    "os.link",
    "os.chmod",
    "os.truncate",
)
_WRITES = 0o1 | 0o2  # O_WRONLY, O_RDWR


class Fault(AssertionError):
    """What an input did that it may not do."""


class TookLong(BaseException):
    """Raised by the timer; not an Exception, so that no reader takes it for a damaged file."""


@dataclass
class _Watch:
    """What the audit hook looks for; there is no way to take a hook off again."""

    folder: Path | None = None
    seen: list[str] | None = None


_watch = _Watch()
_hooked = False


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if _watch.folder is None or _watch.seen is None:
        return
    if event in _STARTS:
        _watch.seen.append(f"{event} {arguments!r:.200}")
    elif event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITES):
        # Of a link the first argument is what it leads to, which is not touched.
        for path in {"os.rename": arguments[:2], "os.symlink": arguments[1:2], "os.link": arguments[1:2]}.get(
            event, arguments[:1]
        ):
            if isinstance(path, str | bytes | Path) and not _inside(path, _watch.folder):
                _watch.seen.append(f"{event} {path!r:.200}")


def _inside(path: str | bytes | Path, folder: Path) -> bool:
    name = path.decode("utf-8", "surrogateescape") if isinstance(path, bytes) else str(path)
    if name == "/dev/null" or "__pycache__" in name:  # what Python itself writes on import
        return True
    try:
        return Path(name).resolve().is_relative_to(folder)
    except (OSError, ValueError):
        return True  # no file of such a name can be opened either


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """Raises Fault at the end where the block wrote outside `folder`, or started or called something."""
    global _hooked
    if not _hooked:
        sys.addaudithook(_hook)
        _hooked = True
    _watch.folder, _watch.seen = folder.resolve(), []
    try:
        yield
    finally:
        seen, _watch.folder, _watch.seen = _watch.seen, None, None
    if seen:
        raise Fault(f"reached out of its folder: {'; '.join(seen[:3])}")


@contextlib.contextmanager
def timed(seconds: float = SECONDS, waiting_s: float = WAITING_S) -> Iterator[None]:
    """Raises TookLong in the block after that much CPU or waiting. For the main thread."""

    def ring(number: int, frame: object) -> None:
        raise TookLong(f"{'CPU' if number == signal.SIGPROF else 'waiting'} beyond its limit")

    before = [(number, signal.signal(number, ring)) for number in (signal.SIGPROF, signal.SIGALRM)]
    # Again and again: a library may swallow the first.
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    signal.setitimer(signal.ITIMER_REAL, waiting_s, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before:
            signal.signal(number, handler)


def reset_peak() -> int:
    """Forget the highest memory so far, where Linux lets us; the bytes in use now."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The highest resident memory since `reset_peak`, bytes."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) * 1024  # type: ignore[index]
    except (OSError, TypeError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def limit_memory(room: int = ROOM) -> None:
    """Let this process take no more than `room` bytes of address space beyond what it has now."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + room,) * 2)


def told(message: object) -> str:
    """A message's kind, for counting: its words without values. Raises Fault where it is none for people."""
    said = str(message)
    if not said.strip() or len(said) > LONGEST:
        raise Fault(f"a message of {len(said):,} characters: {said[:200]!r}")
    if odd := next((c for c in said if not c.isprintable()), None):
        raise Fault(f"a message with {odd!r} in it: {said[:300]!r}")
    if "Traceback" in said or "object at 0x" in said:
        raise Fault(f"a message that is none for people: {said[:300]!r}")
    words = re.sub(r"(?<!\w)'[^']*'|\"[^\"]*\"|\([^)]*\)|\S*[/=\\]\S*|\S*\d\S*", "*", said).split()
    return " ".join(words)[:100]


def fault_of(run: Callable[[], str]) -> tuple[str, str]:
    """The outcome, and the traceback of whatever it may not do ("" for none)."""
    try:
        return run(), ""
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        ours = [frame for frame in frames if "/src/" in frame.filename] or frames
        where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "?"
        outcome = f"FAULT {type(error).__name__} at {where}"
        shown = traceback.format_exception(error, limit=-40)
        return outcome, "".join(shown)[-20_000:]
