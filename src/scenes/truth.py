"""Whether a caption is true: whether the grammar that writes captions can say it of the scene.

So there is no second grammar. What generation draws by chance, a search tries in turn, as far as it agrees with
the caption's words.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from itertools import chain, permutations
from typing import Any

from src.scenes.captions import GRAMMAR, NOUNS, Grammar
from src.scenes.dataset import scene_of
from src.scenes.scene import Group, Scene, SceneObject

_MOST_SUBJECTS = max(map(int, GRAMMAR["phrases"]["number of objects"]))
_NEVER = "?"  # in no caption; no error, since generation may draw what it then leaves unsaid


def is_true(scene: Scene, caption: Sequence[str]) -> bool:
    """Whether every object, number, colour and place of a caption is right; False for what is no caption."""
    return _Reader(scene, caption).says_it()


def is_true_of(seed: int, index: int, caption: Sequence[str]) -> bool:
    """`is_true` of image `index` of a data set."""
    return is_true(scene_of(seed, index), caption)


class _Reader(Grammar):
    """A grammar that makes every choice that agrees with a caption."""

    def __init__(self, scene: Scene, caption: Sequence[str]) -> None:
        self.scene, self.text = scene, " ".join(caption)
        self.path: list[int] = []  # the choices so far
        self.script: list[int] = []  # choices to begin with
        self.untried: list[list[int]] = []  # scripts
        self.said: dict[Hashable, list[str]] = {}

    def says_it(self) -> bool:
        words = set(self.text.split())
        named = [one for one in self.subjects() if words.intersection(NOUNS[one.kind])]
        orders = chain(*(permutations(named, number + 1) for number in range(_MOST_SUBJECTS)))
        return any(self.text in self.ways(self.sentence, list(order)) for order in orders)

    def ways(self, say: Callable[..., str], *about: Any) -> list[str]:
        """All that `say` returns, by whatever choices, and that stands in the caption."""
        outside = self.path, self.script, self.untried
        found, self.untried = set(), [[]]
        while self.untried:
            self.path, self.script = [], self.untried.pop()
            found.add(" ".join(say(*about).split()))
        self.path, self.script, self.untried = outside
        return sorted(filter(self._stands, found))

    def choose(self, options: Iterable[str]) -> str:
        return self._pick([option for option in options if self._stands(option)])

    def happens(self, probability: float) -> bool:
        return self._pick([False, True])

    # Parts, each searched once and by itself: their ways are added up instead of multiplied.

    def noun(self, group: Group) -> str:
        return self._part(super().noun, group)

    def where(self, group: Group) -> str:
        return self._part(super().where, group)

    def clause(self, one: SceneObject) -> str:
        return self._part(super().clause, one)

    def _part(self, say: Callable[..., str], about: SceneObject) -> str:
        key = say.__name__, about
        if key not in self.said:
            self.said[key] = self.ways(say, about)
        return self._pick(self.said[key])

    def _pick(self, options: list[Any]) -> Any:
        """The script's choice, or the first one, the others being for later; _NEVER where there is none."""
        options = options or [_NEVER]
        if len(self.path) < len(self.script):
            choice = self.script[len(self.path)]
        else:
            choice = 0
            self.untried += [[*self.path, other] for other in range(1, len(options))]
        self.path.append(choice)
        return options[choice]

    def _stands(self, text: str) -> bool:
        return f" {text} ".replace("  ", " ") in f" {self.text} "
