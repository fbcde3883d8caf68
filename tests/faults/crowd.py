"""Eight sweeps at once on one folder, one of them killed; two different sweeps at once.

    python -m tests.faults.crowd FOLDER [crowd|mixed]

Prints what was counted as JSON, `deviations` among it; the exit status is 1 where there are any.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

CROWD = 8
EPOCHS = 3  # of the sweep in scenarios.py


def crowd(out: Path, given: Path, processes: int = CROWD) -> dict[str, Any]:
    """The same sweep `processes` times at once, half of them with workers; the first to train is killed."""
    from tests.faults.launch import run, start
    from tests.faults.scenarios import RUNS, SCENARIOS
    from tests.faults.verify import deviations

    by_name = {scenario.name: scenario for scenario in SCENARIOS}
    together, apart = out / "together", out / "apart"
    names = ["classifier, workers", "classifier, serial"]
    (alone,) = by_name[names[0]].commands(given, apart)
    undisturbed = run(alone, apart / "log")
    wrong = [] if undisturbed.status == 0 else [f"undisturbed: {undisturbed.said}"]
    begun = []
    for number in range(processes):
        (command,) = by_name[names[number % 2]].commands(given, together)
        begun.append(start(command, together / "log" / str(number)))
    victim = None
    until = time.monotonic() + 200
    while victim is None and time.monotonic() < until and not all(process.over() for process in begun):
        journals = [(process.folder / "journal", process) for process in begun]
        holders = [p for path, p in journals if path.exists() and "last.ckpt" in path.read_text()]
        victim = next((process for process in holders if not process.over()), None)
        time.sleep(0.005)
    if victim is not None:
        os.killpg(victim.pid, signal.SIGKILL)
    ends = [process.wait() for process in begun]
    renamed: Counter[tuple[str, str]] = Counter()
    for end in ends:
        for write in end.events:
            kind, _, path = write.partition(" ")
            if kind == "rename":
                renamed[Path(path).name, Path(path).parent.name] += 1
    results = {run_name: count for (name, run_name), count in renamed.items() if name == "results.json"}
    epochs = sum(count for (name, _), count in renamed.items() if name == "last.ckpt")
    for process, end in zip(begun, ends, strict=True):
        killed = process is victim
        if end.status != (-signal.SIGKILL if killed else 0) or (end.left and not killed):
            wrong.append(f"a sweep ended with {end.status}, {end.left} left: {end.said[-1000:]}")
        if "Traceback" in end.said:
            wrong.append(f"a traceback: {end.said[-2000:]}")
    if victim is None:
        wrong.append("nobody was killed")
    if sorted(results.values()) != [1] * RUNS:
        wrong.append(f"results were written {results}")
    # The killed one may have been within an epoch of each run that it was training.
    if not RUNS * EPOCHS <= epochs <= RUNS * EPOCHS + RUNS:
        wrong.append(f"{epochs} epochs were saved for {RUNS} runs of {EPOCHS}")
    wrong += deviations(together, apart, RUNS)
    return {
        "processes": processes,
        "killed": int(victim is not None),
        "results_written": sum(results.values()),
        "epochs_saved": epochs,
        "deviations": wrong,
    }


def mixed(out: Path, given: Path) -> dict[str, Any]:
    """Sweeps of another name, of other settings under one name, and of other data in the same run folders."""
    from tests.faults.launch import Command, start
    from tests.faults.scenarios import TRAIN
    from tests.made_up_data import write_data_set

    data = [write_data_set(out / f"data{number}", train=120 + 40 * number, test=40) for number in range(2)]

    def sweep(name: str, root: Path, *more: str) -> Command:
        settings = ("data=idx", f"data.root={root}", "data.val_size=40", "dropout=0.1,0.5", "workers=2")
        where = (f"output_dir={out / 'outputs'}", f"name={name}")
        return Command("src.train", (*TRAIN, *settings, *where, *more))

    commands = [
        sweep("one", data[0], "epochs=2"),
        sweep("one", data[0], "epochs=3"),
        sweep("two", data[0], "epochs=2"),
        sweep("clash", data[0], "epochs=2"),
        sweep("clash", data[1], "epochs=2"),
    ]
    begun = [start(replace(command), out / "log" / str(n)) for n, command in enumerate(commands)]
    ends = [process.wait() for process in begun]
    wrong = [
        f"sweep {n} ended with {end.status}: {end.said[-1500:]}"
        for n, end in enumerate(ends[:3])
        if end.status
    ]
    wrong += [f"a traceback: {end.said[-2000:]}" for end in ends if "Traceback" in end.said]
    epochs = {name: sorted(_epochs(out / "outputs" / name)) for name in ("one", "two", "clash")}
    if epochs["one"] != [2, 2, 3, 3] or epochs["two"] != [2, 2]:
        wrong.append(f"epochs on file: {epochs}")
    # Each run folder belongs to one of the two data sets; who comes second is told, and nothing is mixed.
    digests = [
        json.loads(path.read_text())["settings"]["data.digest"]
        for path in (out / "outputs" / "clash").glob("*/identity.json")
    ]
    for end in ends[3:]:
        told = sum(end.said.count(f"holds a run of other {what}") for what in ("settings", "data"))
        if (end.status == 0) != (told == 0):
            wrong.append(f"a sweep ended with {end.status} and was told {told} times: {end.said[-1500:]}")
    if all(end.status == 0 for end in ends[3:]) or len(digests) != 2:
        wrong.append(f"two data sets in the same folders: {[end.status for end in ends[3:]]}, {digests}")
    filed = [
        json.loads(path.read_text())["settings"]["data.digest"]
        for path in sorted((out / "outputs" / "clash").glob("*/results.json"))
    ]
    if sorted(filed) != sorted(digests):
        wrong.append("results of one data set stand under the identity of the other")
    return {"sweeps": len(commands), "deviations": wrong}


def _epochs(sweep: Path) -> list[int]:
    return [json.loads(path.read_text())["epochs_done"] for path in sweep.glob("*/results.json")]


def main(arguments: list[str]) -> int:
    """The command line."""
    from tests.faults.launch import preload

    preload()
    from tests.faults.scenarios import write_given

    out = Path(arguments[0]).absolute()
    write_given(out / "given")
    parts = {"crowd": crowd, "mixed": mixed}
    found = {name: parts[name](out / name, out / "given") for name in arguments[1:] or parts}
    print(json.dumps(found, indent=1))
    return 1 if any(part["deviations"] for part in found.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
