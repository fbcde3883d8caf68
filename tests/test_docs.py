"""What the README tells people to type: every command there is one that exists."""

import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from src.command import read_command

ROOT = Path(__file__).parents[1]
PAGES = (
    ROOT / "README.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("ARCHITECTURE", "FILES", "PERFORMANCE", "RELIABILITY")),
)
TARGETS = (
    *("setup", "data", "train", "sweep", "seeds", "caption", "caption-ucm", "caption-sydney"),
    *("ranking", "theory", "report", "reproduce", "tensorboard", "audit"),
    *("test", "soak", "damage", "fuzz", "bench", "profile", "lint", "format", "typecheck", "check", "clean"),
)


def commands() -> list[str]:
    """Every line of the pages' shell blocks, without comments."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            found += [line.split("#")[0].strip() for line in block.splitlines()]
    return [line for line in found if line]


@pytest.mark.parametrize("line", commands())
def test_command_of_the_readme_is_one_that_exists(line: str) -> None:
    words = shlex.split(line)
    if words[0] == "make":
        subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True, check=True)
        return
    assert words[:2] == ["python", "-m"]
    assert find_spec(words[2]) is not None
    if words[2] == "src.train":  # the other doors' settings are theirs to check
        assert read_command(words[3:]).mistakes == []


def test_readme_has_commands() -> None:
    assert len(commands()) > 8


@pytest.mark.parametrize("target", TARGETS)
def test_make_target_exists_and_is_in_the_help(target: str) -> None:
    subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=True)
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert f"make {target} " in shown


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_of_a_page_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    missing = [link for link in links if not (page.parent / link).exists()]
    assert missing == []


def test_every_source_file_is_in_the_architecture() -> None:
    page = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8")
    names = {path.name for path in (ROOT / "src").rglob("*.py") if path.name != "__init__.py"}
    known_elsewhere = {"__main__.py", "baselines.py", "preload.py", "report_workers.py"}
    assert sorted(name for name in names - known_elsewhere if name not in page) == []


def test_python_example_of_the_readme_is_valid() -> None:
    (block,) = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.DOTALL
    )
    compile(block, "README.md", "exec")
    assert sys.version_info >= (3, 11)
