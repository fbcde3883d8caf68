"""Ask for known vulnerabilities of the pinned packages: `make audit`.

pip-audit is installed into a virtual environment of its own, which is thrown away: it is no dependency of
this project. It asks the Python Packaging Advisory Database over the network.

Exit status: 0 nothing is known; 1 vulnerabilities, each named; 2 not everything could be asked about, so that
nothing is known either way. pip-audit itself calls what it could not ask about skipped, and ends well.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from src.streams import guard_streams

PINS = Path(__file__).parents[1] / "constraints.txt"
LIMIT_S = 600
LISTED = 8  # packages that a message names
LOCAL = "+"  # a version such as 2.13.0+cpu is known to no database under this name


def audit(pins: Path, tool: Sequence[str] | None = None) -> int:
    """Print what is known of the packages in `pins`; the exit status.

    Args:
        pins: name==version, a line each.
        tool: the command of an installed pip-audit; None installs one.
    """
    with tempfile.TemporaryDirectory(prefix="audit-") as folder:
        work = Path(folder)
        report, exact = work / "report.json", work / "pins.txt"
        lines = [line.split("#")[0].strip() for line in pins.read_text(encoding="utf-8").splitlines()]
        exact.write_text("".join(f"{line.split(LOCAL)[0]}\n" for line in lines if line))
        failed = "" if tool else _installed(work)
        if not failed:
            command = [*(tool or [str(work / "bin" / "pip-audit")]), "--requirement", str(exact)]
            command += ["--no-deps", "--disable-pip", "--format", "json", "--output", str(report)]
            failed = _run([*command, "--progress-spinner", "off"])
        found = _read(report)
    if found is None:
        return _unknown(f"Nobody could be asked: {failed or 'pip-audit left no report'}.")
    count = 0
    for package in found:
        for known in package.get("vulns", []):
            count += 1
            mended = ", ".join(known.get("fix_versions") or []) or "no version yet"
            print(f"{package['name']} {package['version']}: {known['id']}, mended in {mended}")
    skipped = [package for package in found if package.get("skip_reason")]
    print(f"{len(found) - len(skipped)} of {len(found)} packages asked about, {count} known vulnerabilities.")
    if count:
        return 1
    if skipped:
        names = ", ".join(package["name"] for package in skipped[:LISTED])
        more = f" and {len(skipped) - LISTED} more" if len(skipped) > LISTED else ""
        return _unknown(f"Not asked about: {names}{more} ({skipped[0]['skip_reason']}).")
    return 0


def _unknown(why: str) -> int:
    print(why, file=sys.stderr)
    print("Nothing is known either way; try again where the network is reachable.", file=sys.stderr)
    return 2


def _installed(work: Path) -> str:
    """Put pip-audit into `work`; why that failed, or ""."""
    for command in (
        [sys.executable, "-m", "venv", str(work)],
        [str(work / "bin" / "python"), "-m", "pip", "install", "--quiet", "pip-audit"],
    ):
        if failed := _run(command):
            return failed
    return ""


def _run(command: Sequence[str]) -> str:
    """Run a command; its last complaint where it failed, or ""."""
    name = Path(command[0]).name
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{name}: {error}"
    if done.returncode == 0:
        return ""
    lines = (done.stderr or done.stdout).strip().splitlines()
    return f"{name}: {lines[-1] if lines else f'exit status {done.returncode}'}"


def _read(report: Path) -> list[dict[str, Any]] | None:
    """The packages of a report that was written whole, else None."""
    try:
        packages = json.loads(report.read_text(encoding="utf-8"))["dependencies"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return packages if isinstance(packages, list) and packages else None


def main(arguments: Sequence[str]) -> int:
    """The command line; `--with COMMAND` names an installed pip-audit."""
    if len(arguments) == 2 and arguments[0] == "--with":
        return audit(PINS, shlex.split(arguments[1]))
    if arguments:
        print(__doc__ if arguments[0] in ("-h", "--help") else f"{arguments[0]}: there is no such option")
        return 0 if arguments[0] in ("-h", "--help") else 2
    return audit(PINS)


if __name__ == "__main__":
    guard_streams()
    sys.exit(main(sys.argv[1:]))
