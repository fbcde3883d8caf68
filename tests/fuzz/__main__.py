"""Put made-up inputs to everything that reads from outside: `python -m tests.fuzz --help`."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from src.key_value import help_lines, read
from src.paths import expanded
from src.settings import setting
from src.words import plain


@dataclass
class FuzzSettings:
    """Every setting, with its default."""

    inputs: int = setting("how many, by turns over the targets", group="what", default=100_000, at_least=1)
    seed: int = setting("another seed, other inputs", group="what", default=0, at_least=0)
    minutes: int = setting("stop after so many, all inputs done or not", group="what", default=60, at_least=1)
    only: tuple[str, ...] = setting("these targets alone", group="what", default=())
    replay: str | None = setting("put this saved input once more", group="what", default=None)
    out: str = setting(
        "where inputs are saved that did what they may not", group="output", default="outputs/fuzz"
    )


def say(line: str) -> None:
    print(plain(line, 2000) if line[:1] != " " else f"  {plain(line, 2000)}", flush=True)


def main() -> int:
    """0: no input did what it may not; 1: some did, or the time was up; 2: a mistake in the command."""
    if {"--help", "-h"} & set(sys.argv[1:]):
        print(
            "Puts made-up inputs to everything that reads from outside, within bounds of time and memory.\n"
        )
        print("  python -m tests.fuzz inputs=100000 seed=0 minutes=60")
        print("  python -m tests.fuzz replay=outputs/fuzz/image-0-17.input\n")
        print("\n".join(help_lines(FuzzSettings)))
        print("Exit status: 0 no fault; 1 a fault, or the time was up too early; 2 a mistake in the command.")
        return 0
    settings, _, mistakes = read(FuzzSettings, sys.argv[1:])
    if mistakes:
        for mistake in mistakes:
            say(mistake)
        return 2
    from tests.fuzz.all_targets import TARGETS
    from tests.fuzz.campaign import Campaign, replayed

    if settings.replay is not None:
        path = expanded(settings.replay)
        name = path.name.split("-")[0].replace("_", " ")
        if name not in TARGETS or not path.is_file():
            say(f"replay={settings.replay}: no file, or not named after one of {', '.join(TARGETS)}")
            return 2
        found = replayed(path, TARGETS[name])
        print(found.pop("fault") or "no fault")
        say(str(found))
        return int(str(found["outcome"]).startswith("FAULT"))
    unknown = [name for name in settings.only if name not in TARGETS]
    if unknown:
        say(f"only={','.join(unknown)}: there are {', '.join(TARGETS)}")
        return 2
    chosen = [TARGETS[name] for name in settings.only or TARGETS]
    out, began = expanded(settings.out), time.monotonic()
    campaign = Campaign(chosen, settings.seed, settings.inputs, Path(out), began + settings.minutes * 60, say)
    done = campaign.run()
    print(campaign.table())
    faults = sum(tally.faults for tally in campaign.tallies.values())
    minutes = (time.monotonic() - began) / 60
    say(f"{done:,} of {settings.inputs:,} inputs in {minutes:.1f} min, {faults} faults")
    return int(faults > 0 or done < settings.inputs)


if __name__ == "__main__":
    sys.exit(main())
