"""Entry points: how every command of the project reads its settings, reports errors and ends.

    @entry_point("theory", TheorySettings)
    def main(cfg: DictConfig) -> int | None:
        '''What `--help` prints first.'''

Exit status: what `main` returns (None is 0); 1 after an error, 2 for errors in the command (all are named,
nothing was run), 128 + the signal's number after Ctrl-C, SIGTERM, SIGHUP.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from src.config.fields import fields_of
from src.config.validation import Overrides, config_errors
from src.run import signals
from src.streams import guard_streams

CONF = Path(__file__).parents[1] / "conf"
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
        schema: dataclass of `setting`s (src/config/fields.py).
        positional: the list-valued or plain setting that words without `=` are values of.
    """

    def decorate(function: Callable[[DictConfig], int | None]) -> Callable[[], None]:
        @functools.wraps(function)
        def main() -> None:
            arguments = sys.argv[1:]
            with error_boundary(
                f"Stopped; `python -m src.{config_name}` with the same settings does it again."
            ):
                setup_logging()
                own = (CONF / f"{config_name}.yaml").exists()  # it names the schema in its defaults list
                ConfigStore.instance().store(config_name + "_settings" * own, schema)
                options, overrides = split_arguments(arguments, positional, schema)
                if "--help" in options or "-h" in options:
                    sys.stdout.write(help_text(function.__doc__ or "", config_name, schema))
                    return
                config_dirs = [Path(path) for path in options.get("--config-dir", [])]
                with initialize_config_dir(str(CONF), job_name=config_name, version_base="1.3"):
                    given = Overrides(overrides, config_name, config_dirs)
                    accepted = given.check(multirun=False)
                    if given.errors:
                        raise InvalidCommand(given.errors)
                    cfg = compose(config_name, accepted)
                if "--cfg" in options:
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
        try:
            yield
            sys.stdout.flush()
        except KeyboardInterrupt as error:
            write_line(stopped)
            raise SystemExit(signals.status_of(error)) from None
        except (InvalidCommand, HydraException, OmegaConfBaseException) as error:
            write_line(str(error))
            raise SystemExit(2) from None
        except Exception as error:
            known = isinstance(error, UserError) or (
                isinstance(error, OSError) and error.filename is not None
            )
            write_line(str(error) if known else f"{type(error).__name__}: {error} (--traceback shows where)")
            if shows_traceback:
                traceback.print_exc()
            raise SystemExit(1) from None
    finally:
        signals.restore()


def split_arguments(
    arguments: Sequence[str], positional: str | None = None, schema: type | None = None
) -> tuple[dict[str, list[str]], list[str]]:
    """Options (`--config-dir X`, `--help`) with their values, and overrides; bare words go to `positional`.

    Raises:
        InvalidCommand: a word that is neither.
    """
    options: dict[str, list[str]] = {}
    overrides, words = [], []
    rest = iter(arguments)
    for argument in rest:
        name, _, value = argument.partition("=")
        if name in ("--config-dir", "-cd", "--cfg", "-c"):
            options.setdefault({"-cd": "--config-dir", "-c": "--cfg"}.get(name, name), []).append(
                value or next(rest, "")
            )
        elif argument in ("--help", "-h", "--traceback"):
            options[argument] = []
        elif argument.startswith("-"):
            raise InvalidCommand([f"{argument}: there is no such option; --help lists all settings"])
        elif "=" in argument:
            overrides.append(argument)
        else:
            words.append(argument)
    if words and positional is None:
        raise InvalidCommand([f"{word}: settings are given as key=value" for word in words])
    if words:
        quoted = ['"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"' for word in words]
        is_list = schema is not None and "list" in str(schema.__annotations__.get(str(positional)))
        overrides.append(f"{positional}=" + (f"[{','.join(quoted)}]" if is_list else quoted[0]))
    return options, overrides


def help_text(doc: str, config_name: str, *schemas: type) -> str:
    """What `--help` prints: the command's docstring, then every setting with its choices and default."""
    lines = [doc.strip(), "", f"  python -m src.{config_name} key=value ...", ""]
    groups: dict[str, list[str]] = {}
    entries_of = dict(entry for schema in schemas for entry in fields_of(schema))
    for name, item in entries_of.items():
        text = str(item.metadata.get("help", ""))
        if choices := item.metadata.get("choices"):
            text += f" ({', '.join(choices)})"
        if item.default not in (dataclasses.MISSING, "???", None, ""):
            text += f" [{str(item.default).lower() if isinstance(item.default, bool) else item.default}]"
        groups.setdefault(item.metadata.get("group", "settings"), []).append(f"  {name:20} {text}")
    for group, entries in groups.items():
        lines += [f"== {group} ==", *entries, ""]
    lines.append(
        "Options: --help, --cfg job (print the settings, run nothing), --config-dir DIR, --traceback"
    )
    return "\n".join(lines) + "\n"


class TerminalHandler(logging.Handler):
    """Log records as plain lines on standard error, clear of a progress bar."""

    def emit(self, record: logging.LogRecord) -> None:
        write_line(self.format(record))


def setup_logging() -> None:
    """Send the project's log records to the terminal."""
    log = logging.getLogger("src")
    log.handlers, log.propagate = [TerminalHandler()], False
    log.setLevel(logging.INFO)


def write_line(line: str) -> None:
    """A line on standard error; nothing where that is closed."""
    tqdm = sys.modules.get("tqdm")
    with suppress(OSError, ValueError, AttributeError):
        tqdm.tqdm.write(line, file=sys.stderr) if tqdm else print(line, file=sys.stderr, flush=True)
