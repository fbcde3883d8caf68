"""Entry points: how every command of the project reads its settings, reports errors and ends.

    @entry_point("theory", TheorySettings)
    def main(cfg: DictConfig) -> int | None:
        '''What `--help` prints first.'''

Exit status: what `main` returns (None is 0); 1 after an error, 2 for errors in the command (all are named,
nothing was run), 128 + the signal's number after Ctrl-C, SIGTERM, SIGHUP.
"""

from __future__ import annotations

import dataclasses
import errno
import functools
import io
import logging
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config.settings import fields_of, limits
from src.config.validation import Overrides, config_errors, nearest
from src.run import signals

CONF = Path(__file__).parents[1] / "conf"
OPTIONS_WITH_VALUE = {"--config-dir": "--config-dir", "-cd": "--config-dir", "--cfg": "--cfg", "-c": "--cfg"}
LONGEST = 800  # letters of a line on the terminal: a value that is echoed in it may have any length
logger = logging.getLogger(__name__)


class UserError(Exception):
    """An error that its message explains to the user: the value, the limit, what to do."""


class InvalidCommand(UserError):
    """Errors of a command, found before anything was run; exit status 2."""

    def __init__(self, errors: Sequence[str]) -> None:
        self.errors = list(dict.fromkeys(errors))
        count = len(self.errors)
        lines = "".join(f"\n  {error}" for error in self.errors)
        super().__init__(f"Nothing was run: {count} error{'s' if count > 1 else ''} in this command.{lines}")


def entry_point(
    config_name: str, schema: type, positional: str | None = None
) -> Callable[[Callable[[DictConfig], int | None]], Callable[[], None]]:
    """Make a function of a composed configuration a command: `python -m src.NAME key=value ...`.

    Args:
        config_name: the command's name; `conf/NAME.yaml` where there is one, else the schema's defaults.
        schema: dataclass of `setting`s (src/config/settings.py).
        positional: the list-valued or plain setting that words without `=` are values of.
    """

    def decorate(function: Callable[[DictConfig], int | None]) -> Callable[[], None]:
        @functools.wraps(function)
        def main() -> None:
            again = f"`python -m src.{config_name}` with the same settings does it again."
            with error_boundary(f"Stopped; {again}"):
                setup_logging()
                own = (CONF / f"{config_name}.yaml").exists()  # it names the schema in its defaults list
                ConfigStore.instance().store(config_name + "_settings" * own, schema)
                flags = ("--help", "-h", "--traceback")
                options, words = split_arguments(sys.argv[1:], OPTIONS_WITH_VALUE, flags)
                if {"--help", "-h"} & {name for name, _ in options}:
                    sys.stdout.write(help_text(function.__doc__ or "", config_name, schema))
                    return
                config_dirs = [Path(value) for name, value in options if name == "--config-dir"]
                with initialize_config_dir(str(CONF), job_name=config_name, version_base="1.3"):
                    given = Overrides(with_positional(words, positional), config_name, config_dirs)
                    accepted = given.check(multirun=False)
                    if given.errors:
                        raise InvalidCommand(given.errors)
                    cfg = compose(config_name, accepted)
                if "--cfg" in {name for name, _ in options}:
                    sys.stdout.write(OmegaConf.to_yaml(cfg))
                    return
                if errors := config_errors(cfg):
                    raise InvalidCommand(errors)
                signals.install_signal_handlers()
                raise SystemExit(function(cfg) or 0)

        return main

    return decorate


@contextmanager
def error_boundary(stopped: str) -> Iterator[None]:
    """Turn whatever ends a command into one line on standard error and an exit status.

    Args:
        stopped: what to say after a signal.

    Raises:
        SystemExit: 1, 2 or 128 + the signal's number; whatever the block raised of its own.
    """
    guard_streams()
    shows_traceback = "--traceback" in sys.argv  # Hydra's arguments may be others by the end
    try:
        with signals.kept():
            yield
            sys.stdout.flush()
    except KeyboardInterrupt as error:
        write_line(stopped)
        raise SystemExit(signals.status_of(error)) from None
    except Exception as error:
        is_command = isinstance(error, InvalidCommand | HydraException | OmegaConfBaseException)
        known = is_command or isinstance(error, UserError) or (isinstance(error, OSError) and error.filename)
        write_line(str(error) if known else f"{type(error).__name__}: {error} (--traceback shows where)")
        if shows_traceback:
            traceback.print_exc()
        raise SystemExit(2 if is_command else 1) from None
    finally:
        signals.restore()


def split_arguments(
    arguments: Sequence[str], with_value: Mapping[str, str], flags: Sequence[str]
) -> tuple[list[tuple[str, str]], list[str]]:
    """Options with their values (a flag's is empty), and all other words.

    Args:
        with_value: options that take a value, and their long names.
        flags: options that take none.

    Raises:
        InvalidCommand: there is no such option.
    """
    options, words = [], []
    rest = iter(arguments)
    for argument in rest:
        name, _, value = argument.partition("=")
        if not argument.startswith("-"):
            words.append(argument)
        elif name in with_value:
            options.append((with_value[name], value or next(rest, "")))
        elif name in flags:
            options.append((argument, ""))
        else:
            hint = nearest(name, [*with_value, *flags, "--help"]) or "; --help lists all settings"
            raise InvalidCommand([f"{argument}: there is no such option{hint}"])
    return options, words


def with_positional(words: Sequence[str], positional: str | None = None) -> list[str]:
    """Words as overrides; those without `=`, and paths with one, are values of the setting `positional`.

    Raises:
        InvalidCommand: there is no such setting, or it is given by its name, too.
    """

    def is_path(word: str) -> bool:
        return positional is not None and ("/" in word.partition("=")[0] or os.access(word, os.F_OK))

    bare = [word for word in words if ("=" not in word and not word.startswith("~")) or is_path(word)]
    if bare and positional is None:
        raise InvalidCommand([f"{word}: settings are given as key=value" for word in bare])
    named = [word for word in words if word not in bare and word.startswith(f"{positional}=")]
    if bare and named:
        raise InvalidCommand([f"{named[0]}: {bare[0]} is its value, too; give all of them in one way"])
    values = ['"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in bare]
    value = values[0] if len(values) == 1 else f"[{','.join(values)}]"
    return [word for word in words if word not in bare] + ([f"{positional}={value}"] if bare else [])


def help_text(doc: str, config_name: str, *schemas: type) -> str:
    """What `--help` prints: the command's docstring, then every setting with its choices, limits and default.

    A setting stands under its own `group`, else under that of the one before.
    """
    groups: dict[str, dict[str, str]] = {}
    heading = "Settings"
    shared = set.intersection(*({name for name, _ in fields_of(schema)} for schema in schemas))
    for name, item, doc_of_schema in ((*entry, one.__doc__) for one in schemas for entry in fields_of(one)):
        text = str(item.metadata.get("help", ""))
        files = sorted(path.stem for path in (CONF / name).glob("*.yaml") if path.stem != "own")
        if choices := item.metadata.get("choices") or files:
            text += f" ({', '.join(choices)})"
        if bounds := item.metadata.get("bounds"):
            text += f" ({limits(bounds)})"
        if item.default not in (dataclasses.MISSING, "???", None, ""):
            text += f" [{str(item.default).lower() if isinstance(item.default, bool) else item.default}]"
        before = heading if name in shared else str(doc_of_schema).rstrip(".")
        heading = item.metadata.get("group") or before
        groups.setdefault(heading, {})[name] = f"  {name:20} {text}\n"
    settings = "".join(f"== {group} ==\n{''.join(lines.values())}\n" for group, lines in groups.items())
    options = "Options: --help, --cfg job (print all values, run nothing), --config-dir DIR, --traceback\n"
    return f"{doc.strip()}\n\n  python -m src.{config_name} key=value ...\n\n{settings}{options}"


class TerminalHandler(logging.Handler):
    """Log records as plain lines on standard error, clear of a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        write_line(self.format(record))


def setup_logging() -> None:
    """Send the project's log records to the terminal."""
    log = logging.getLogger("src")
    log.handlers, log.propagate = [TerminalHandler()], False
    log.setLevel(logging.INFO)


def write_line(text: str) -> None:
    """Lines on standard error, the end of very long ones left out; nothing where that is closed."""
    tqdm = sys.modules.get("tqdm")
    shown = "\n".join(line if len(line) <= LONGEST else f"{line[:LONGEST]} ..." for line in text.split("\n"))
    with suppress(OSError, ValueError, AttributeError):
        tqdm.tqdm.write(shown, file=sys.stderr) if tqdm else print(shown, file=sys.stderr, flush=True)


class _Lasting(io.FileIO):
    """A descriptor that drops what nobody is there to read; other errors, as of a full disk, are raised."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError as error:
            if error.errno not in (errno.EPIPE, errno.EIO):  # of a pipe, of a terminal
                raise
            return memoryview(data).nbytes


def guard_streams() -> None:
    """Make both streams of this process last, and replace letters that their encoding lacks.

    Streams that are closed, or that someone has replaced (a test, a notebook), stay.
    """
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:  # >&-
            setattr(sys, name, io.TextIOWrapper(io.FileIO(os.devnull, "w")))
        elif stream is getattr(sys, f"__{name}__"):
            stream.flush()
            is_line = name == "stderr" or os.isatty(number)
            buffer = io.BufferedWriter(_Lasting(number, "w", closefd=False))
            lasting = io.TextIOWrapper(buffer, stream.encoding, errors="replace", line_buffering=is_line)
            setattr(sys, name, lasting)
            setattr(sys, f"__{name}__", lasting)


def printable(value: object, longest: int = 300) -> str:
    """A file name or a library's message on one line, without colours and cursor moves for the terminal."""
    text = "".join(c if c.isprintable() else " " if c.isspace() else "?" for c in str(value))
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
