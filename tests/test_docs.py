"""What the pages tell people to type: every command there is one that exists."""

import re
import shlex
import subprocess
from importlib.util import find_spec
from pathlib import Path

import pytest

from src.config.settings import register
from src.sweep.command import read_command
from tests.command_line import ROOT

PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
register()


def commands() -> list[str]:
    """Every command of the pages' shell blocks."""
    found = []
    for page in PAGES:
        for block in re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL):
            found += [line.split(" #")[0].strip() for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in dict.fromkeys(found) if line]


def test_every_command_of_the_pages_is_one_that_exists() -> None:
    assert len(commands()) > 12
    targets: set[str] = set()
    for line in commands():
        words = shlex.split(line)
        if words[0] == "sbatch":
            words = shlex.split(words[-1])  # what it wraps
        if words[0] == "make":
            targets |= {word for word in words[1:] if "=" not in word}
            continue
        assert words[:2] == ["python", "-m"], line
        assert find_spec(words[2]) is not None, line
        if words[2] == "src.train" and "--help" not in words:
            assert read_command(words[3:]), line  # raises InvalidCommand, naming every error
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in targets:
        subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, check=True)
        assert f"make {target} " in shown


def test_every_data_set_that_the_readme_lists_is_a_choice() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    names = [name for names in re.findall(r"`data=([\w|]+\|[\w|]+)`", text) for name in names.split("|")]
    assert len(names) > 8
    for name in names:
        task = [f"task={'caption' if name in ('scenes', 'karpathy', 'coco', 'captions_csv') else 'classify'}"]
        assert read_command([*task, f"data={name}"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_pictures_of_a_page_exist(page: Path) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_readme_is_short_and_every_recipe_names_its_command() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
    for recipe in (ROOT / "conf" / "experiment").glob("*.yaml"):
        (command,) = re.findall(r"^# (python -m src\.train .*)$", recipe.read_text(), flags=re.MULTILINE)
        assert f"experiment={recipe.stem}" in command
        assert read_command(shlex.split(command)[3:])
