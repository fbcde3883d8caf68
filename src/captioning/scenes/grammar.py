"""Five captions for a scene: what it holds, how many, in which colour and where, in changing words.

A caption names one to three things. It says "many" of seven or more and counts what is fewer. Where a
place follows a noun it belongs to that noun; a place in front belongs to the first noun after it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from src.captioning.scenes.phrases import (
    NOUNS,
    Phrase,
    beach_thing,
    choose,
    noun_phrase,
    pier_thing,
    place_phrase,
    relation,
    shore_clause,
    strip_clause,
    verb,
)
from src.captioning.scenes.places import side_of
from src.captioning.scenes.things import Group, Rng, Scene, Shore, Strip, Thing

CAPTIONS = 5
MOST_WORDS = 20  # 22 tokens with the start and the end
_ITS_SIDE = {"left": "on its left", "right": "on its right", "above": "above it", "below": "below it"}
_ATTENTION = (1.0, 0.8, 0.65, 0.5, 0.4)  # how likely a thing is named: what strikes first, most


@dataclass(frozen=True)
class Caption:
    """A caption's words and the things that it names."""

    words: tuple[str, ...]
    named: tuple[Thing, ...]


def nameable(scene: Scene) -> tuple[Thing, ...]:
    """All that captions may name, what strikes first in front; boxes included."""
    groups = sorted(scene.groups, key=lambda group: group.kind not in ("planes", "boats"))
    things: list[Thing] = [*groups[:1], *scene.strips, *([scene.shore] if scene.shore else []), *groups[1:]]
    if scene.shore and scene.shore.kind == "sea":
        things.append(beach_thing(scene.shore))
    if scene.shore and len(scene.shore.piers) == 1:
        things.append(pier_thing(scene.shore))
    return tuple(things)


def objects_of(scene: Scene) -> list[dict[str, Any]]:
    """For the data set's file: each nameable thing's box and all nouns that captions use for it."""
    return [
        {"words": list(NOUNS[thing.kind]), "box": [round(edge, 4) for edge in thing.box]}
        for thing in nameable(scene)
    ]


def describe(scene: Scene, rng: Rng) -> list[Caption]:
    """Five captions, different as long as there are five ways to say it."""
    captions: list[Caption] = []
    for attempt in range(10_000):
        caption = _caption(scene, rng)
        repeated = any(caption.words == other.words for other in captions)
        if len(caption.words) <= MOST_WORDS and (not repeated or attempt > 200):
            captions.append(caption)
            if len(captions) == CAPTIONS:
                return captions
    raise RuntimeError(f"no {CAPTIONS} captions of at most {MOST_WORDS} words were found for {scene}")


def _caption(scene: Scene, rng: Rng) -> Caption:
    things = [thing for thing in nameable(scene) if thing.kind not in ("beach", "pier")]
    if len(scene.strips) == 2:
        things.remove(scene.strips[1])  # the crossroads are named at once
    number = min(len(things), choose(rng, {1: 0.15, 2: 0.6, 3: 0.25}))
    share = [_ATTENTION[min(k, 4)] for k in range(len(things))]
    total = sum(share)
    order = rng.choice(len(things), size=number, replace=False, p=[part / total for part in share]).tolist()
    if rng.random() < 0.7:
        order.sort()
    chosen = [things[k] for k in order]
    phrase = _sentence(scene, chosen, rng)
    return Caption(tuple(phrase.text.split()), phrase.named)


def _sentence(scene: Scene, chosen: list[Thing], rng: Rng) -> Phrase:
    groups = [thing for thing in chosen if isinstance(thing, Group)]
    if len(scene.strips) == 1 and scene.strips[0] in chosen and groups and rng.random() < 0.6:
        return _around(scene, scene.strips[0], groups, rng)
    if len(groups) == 2 and len(chosen) == 2 and rng.random() < 0.25:
        side = side_of(groups[0].box, groups[1].box)
        if side in ("left", "right"):
            link = choose(rng, {f"on the {side} of": 0.6, f"to the {side} of": 0.4})
            first = noun_phrase(groups[0], rng)
            return first + ("are" if first.plural else "is") + link + noun_phrase(groups[1], rng)
    front = chosen[0]
    if isinstance(front, Group) and front.place and rng.random() < 0.15:
        phrase = Phrase(place_phrase(front.place, rng)) + _there(front, rng)
    elif isinstance(front, Group) and rng.random() < 0.4:
        phrase = _there(front, rng) + _where(scene, front, rng)
    else:
        phrase = _stands(scene, front, rng)
    return phrase + _others(scene, chosen[1:], rng)


def _around(scene: Scene, strip: Strip, groups: Sequence[Group], rng: Rng) -> Phrase:
    """A strip and what lies on its sides: the strip in front, or the first group."""
    sides = {group: side_of(group.box, strip.box) for group in groups if group.kind != "boats"}
    first, near = groups[0], relation(scene, groups[0], rng)
    if near is not None and (None in sides.values() or len(sides) < len(groups) or rng.random() < 0.5):
        phrase = noun_phrase(first, rng)
        phrase = phrase + verb(scene, first, phrase.plural, rng) + near
        if first.place and rng.random() < 0.4:
            phrase += place_phrase(first.place, rng)
        return phrase + _others(scene, groups[1:], rng)
    phrase = strip_clause(strip, rng) + "with"
    for k, group in enumerate(groups):
        side = sides.get(group) if strip.axis != "diagonal" else None
        if side is not None and rng.random() < 0.7:
            where = {
                "left": "on its left",
                "right": "on its right",
                "above": "above it",
                "below": "below it",
            }[side]
        else:
            where = place_phrase(group.place, rng) if group.place else ""
        phrase += Phrase("and" if k else "") + noun_phrase(group, rng) + where
    return phrase


def _others(scene: Scene, things: Sequence[Thing], rng: Rng) -> Phrase:
    """What else a caption names, each with an "and"."""
    phrase = Phrase()
    for thing in things:
        phrase += "and"
        if isinstance(thing, Group):
            phrase += noun_phrase(thing, rng) + _where(scene, thing, rng)
        else:
            phrase += _stands(scene, thing, rng)
    return phrase


def _there(thing: Thing, rng: Rng) -> Phrase:
    phrase = noun_phrase(thing, rng)
    return Phrase("there are" if phrase.plural else "there is") + phrase


def _stands(scene: Scene, thing: Thing, rng: Rng) -> Phrase:
    if isinstance(thing, Strip):
        return _crossing(scene, rng) if len(scene.strips) == 2 else strip_clause(thing, rng)
    if isinstance(thing, Shore):
        return shore_clause(thing, rng)
    where = _where(scene, thing, rng)
    if not where.text:
        return _there(thing, rng)
    phrase = noun_phrase(thing, rng)
    return phrase + verb(scene, thing, phrase.plural, rng) + where


def _where(scene: Scene, thing: Thing, rng: Rng) -> Phrase:
    """A place, a relation, both or none."""
    near = relation(scene, thing, rng) if isinstance(thing, Group) and rng.random() < 0.4 else None
    if near is None or rng.random() < 0.4:
        place = Phrase(place_phrase(thing.place, rng)) if thing.place and rng.random() < 0.96 else Phrase()
        return near + place if near and rng.random() < 0.5 else place
    return near


def _crossing(scene: Scene, rng: Rng) -> Phrase:
    text = choose(
        rng,
        {
            "two roads cross in the middle": 0.5,
            "two roads cross each other": 0.3,
            "two streets cross in the middle": 0.2,
        },
    )
    return Phrase(text, scene.strips, plural=True)
