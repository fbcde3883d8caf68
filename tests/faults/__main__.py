"""The soak: `python -m tests.faults kills=200 seed=0 out=FOLDER`, `--help` for the rest."""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from src.job import say_to_terminal
from src.key_value import help_lines, read
from src.settings import setting


@dataclass
class SoakSettings:
    """Every setting of `tests.faults`, with its default."""

    kills: int = setting("that hit a command at work", group="what", default=200, at_least=1)
    seed: int = setting("of the moments", group="what", default=0, at_least=0)
    only: str | None = setting("scenarios whose name holds this word", group="what", default=None)
    out: str | None = setting(
        "folder for faults.json and for what deviates; null: a temporary one", group="what", default=None
    )


def soak(settings: SoakSettings) -> int:
    """Kill, compare, report; 1 where anything deviates."""
    from tests.faults.launch import preload

    preload()
    from tests.faults.episodes import Soak  # after the imports that must come first

    out = Path(settings.out or tempfile.mkdtemp(prefix="faults-"))
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()

    def say(kills: int, line: str) -> None:
        left = (time.monotonic() - began) * max(settings.kills - kills, 0) / max(kills, 1)
        time_left = f"{left / 60:.0f} min left" if kills else "measuring"
        say_to_terminal(f"[{kills:3}/{settings.kills}] {line}   {time_left}")

    soaked = Soak(out, settings.seed, settings.only or "", say)
    soaked.run(settings.kills)
    content: dict[str, Any] = {
        "kills": len(soaked.kills),
        "seed": settings.seed,
        "seconds": round(time.monotonic() - began),
        "python": platform.python_version(),
        "deviations": soaked.deviations,
        "episodes": soaked.episodes,
        "list": [kill.record() for kill in soaked.kills],
    }
    (out / "faults.json").write_text(json.dumps(content, indent=1) + "\n")
    _table("signal", Counter(kill.moment.name for kill in soaked.kills))
    _table("phase", Counter(kill.phase for kill in soaked.kills))
    _table("sweep", Counter(kill.scenario for kill in soaked.kills))
    for line in soaked.deviations:
        print(f"DEVIATES: {line}")
    print(
        f"{len(soaked.kills)} kills (and as many restarts) in {soaked.episodes} sweeps, "
        f"seed {settings.seed}, "
        f"{content['seconds']} s: {len(soaked.deviations)} deviations. {out / 'faults.json'}"
    )
    return 1 if soaked.deviations else 0


def _table(heading: str, counts: Counter[str]) -> None:
    print(f"| {heading} | kills |\n|---|---:|")
    for name, count in sorted(counts.items()):
        print(f"| {name} | {count} |")
    print()


def main(arguments: list[str]) -> int:
    """The command line; 0 where nothing deviates, 1 where something does, 2 for a mistake."""
    if any(word in ("-h", "--help") for word in arguments):
        print("Kills small sweeps at random moments, restarts them, and compares the ends.\n")
        print("\n".join(help_lines(SoakSettings)))
        print("Exit status: 0 nothing deviates; 1 something does; 2 a mistake in the command.")
        return 0
    settings, _, mistakes = read(SoakSettings, arguments)
    for mistake in mistakes:
        print(mistake, file=sys.stderr)
    return 2 if mistakes else soak(settings)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
