"""The long form: `python -m tests.damage cases=500 seed=0`.

Damages every file that the software reads back, at random places, and runs the command again. Ends with
status 1 where a wrong number, a traceback or a hang was seen; a case's number and the seed repeat it
(`only=17`). `verbose=true` shows how each case ended.
"""

from __future__ import annotations

import sys
import tempfile
from collections import Counter
from pathlib import Path

from tqdm import tqdm

from tests.damage.cases import BAD, GOOD, Case, Outcome, cases, run_case
from tests.damage.harm import KINDS
from tests.damage.worlds import build


def table(ended: list[tuple[Case, Outcome]]) -> str:
    """By file and kind: cases, of these ended with the same numbers + ended with a named error."""
    files = list(dict.fromkeys(file for case, _ in ended for file in [case.file]))
    counts = Counter((case.file, case.kind, outcome.end) for case, outcome in ended)

    def cell(file: str, kind: str) -> str:
        same, named = (counts[file, kind, end] for end in GOOD)
        bad = sum(counts[file, kind, end] for end in BAD)
        return f"{same} + {named}" + (f", {bad} BAD" if bad else "")

    lines = ["| file | " + " | ".join(KINDS) + " |", "|---|" + "---|" * len(KINDS)]
    lines += [
        f"| {file} | " + " | ".join(cell(file, kind) for kind in KINDS) + " |" for file in sorted(files)
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Run the cases; the exit status."""
    given = dict(argument.split("=", 1) for argument in arguments)
    count, seed = int(given.pop("cases", 500)), int(given.pop("seed", 0))
    only = given.pop("only", None)
    verbose = given.pop("verbose", "") == "true"
    if given:
        print(f"{', '.join(given)}: there are cases=, seed=, only= and verbose=true", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as temporary:
        worlds = build(Path(temporary) / "worlds")
        chosen = [case for case in cases(worlds, count, seed) if only is None or case.number == int(only)]
        ended = []
        for case in tqdm(chosen, desc="damage", unit="case", disable=None):
            outcome = run_case(case, seed, Path(temporary) / f"case{case.number}")
            ended.append((case, outcome))
            if outcome.end in BAD or only is not None or verbose:
                tqdm.write(f"{case}: {outcome.end}: {outcome.said}")
    print(table(ended))
    counts = Counter(outcome.end for _, outcome in ended)
    print(f"{len(ended)} cases, seed {seed}: " + ", ".join(f"{counts[end]} {end}" for end in (*GOOD, *BAD)))
    print("(a + b: a ended with the undamaged run's numbers, b with an error that names the cause)")
    return int(any(counts[end] for end in BAD))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
