"""Flame graphs from a trace's own events: what was on the stack while the time passed.

A trace (chrome's format, as torch.profiler writes it) holds every Python function and operator with start and
duration. Events of a thread lie inside one another; those of one path are added up.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.figure import Figure

from src import figures

KINDS = ("python_function", "cpu_op", "user_annotation")
LEAST = 0.004  # of the whole: narrower boxes are left out, with what stands on them
SLACK = 1.0  # microseconds by which the clocks of nested events differ
LETTER = 0.0095  # of the figure's width that a letter takes at 8 pt
COLOURS = {"python": "#8EC3E6", "operator": "#F2B27A"}


@dataclass
class Frame:
    """A function or operator where it was called from; microseconds over all its calls."""

    name: str
    kind: str = "python"  # or "operator"
    total: float = 0.0
    calls: dict[str, Frame] = field(default_factory=dict)

    @property
    def own(self) -> float:
        """What its calls do not account for."""
        return self.total - sum(frame.total for frame in self.calls.values())


def frames_of(events: Iterable[Mapping[str, Any]]) -> Frame:
    """All events of the busiest thread, merged by path, under one root."""
    threads: dict[Any, list[Mapping[str, Any]]] = {}
    for event in events:
        if event.get("ph") == "X" and event.get("cat") in KINDS and event.get("dur", 0) > 0:
            threads.setdefault(event.get("tid"), []).append(event)
    root = Frame("everything")
    if not threads:
        return root
    busiest = max(threads.values(), key=len)
    # Of two that start at once, the longer one holds the other.
    busiest.sort(key=lambda event: (event["ts"], -event["dur"]))
    stack: list[tuple[float, Frame]] = []  # ends, frames
    for event in busiest:
        begin, end = event["ts"], event["ts"] + event["dur"]
        while stack and stack[-1][0] <= begin:
            stack.pop()
        # What outlasts the function it began in, as an annotation does, was only opened there.
        while stack and stack[-1][0] < end - SLACK:
            stack.pop()
        if stack:
            end = min(end, stack[-1][0])
        parent = stack[-1][1] if stack else root
        kind = "python" if event["cat"] == "python_function" else "operator"
        frame = parent.calls.setdefault(event["name"], Frame(event["name"], kind))
        frame.total += end - begin
        stack.append((end, frame))
    root.total = sum(frame.total for frame in root.calls.values())
    return root


def trunk_removed(root: Frame, marker: str) -> Frame:
    """What lies under all frames with `marker` in their names, as one root; `root` where there are none."""
    found: list[Frame] = []

    def look(frame: Frame) -> None:
        if marker in frame.name:
            found.append(frame)
            return
        for call in frame.calls.values():
            look(call)

    look(root)
    if not found:
        return root
    merged = Frame(marker, total=sum(frame.total for frame in found))
    for frame in found:
        _merge(merged, frame)
    return merged


def _merge(into: Frame, frame: Frame) -> None:
    for name, call in frame.calls.items():
        same = into.calls.setdefault(name, Frame(name, call.kind))
        same.total += call.total
        _merge(same, call)


def boxes(root: Frame, least: float = LEAST) -> list[tuple[float, float, int, Frame]]:
    """Left edge and width as shares of the whole, level above the ground, frame; the widest first."""
    found: list[tuple[float, float, int, Frame]] = []

    def place(frame: Frame, left: float, level: int) -> None:
        width = frame.total / root.total
        found.append((left, width, level, frame))
        for call in sorted(frame.calls.values(), key=lambda call: -call.total):
            if call.total / root.total >= least:
                place(call, left, level + 1)
            left += call.total / root.total

    if root.total > 0:
        place(root, 0.0, 0)
    return found


def flame_graph(root: Frame, what: str) -> Figure:
    """The graph: width is time, a box stands on what called it. The title names where most time goes."""
    placed = boxes(root)
    levels = max((level for _, _, level, _ in placed), default=0) + 1
    with figures.look():
        figure, ((axes,),) = figures.subplots(height=min(11.0, 0.19 * levels + 1.3))
        for left, width, level, frame in placed:
            colour = "#DDDDDD" if level == 0 else COLOURS[frame.kind]
            axes.barh(level, width, 0.94, left, color=colour, edgecolor="white", linewidth=0.5, align="edge")
            label = _fitted(what if level == 0 else short(frame.name), width)
            if label:
                axes.text(left + 0.003, level + 0.45, label, fontsize=8, va="center", clip_on=True)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, levels)
        axes.set_xlabel(
            f"Share of {root.total / 1000:,.1f} ms under the profiler (blue: Python, orange: operators)"
        )
        axes.set_yticks([])
        axes.grid(False)
        axes.spines["left"].set_visible(False)
        figures.title(figure, flame_title(root, what))
    return figure


def flame_title(root: Frame, what: str) -> str:
    """Where most time goes: the operators with the largest own time."""
    own: dict[str, float] = {}

    def add(frame: Frame) -> None:
        if frame.kind == "operator":
            own[frame.name] = own.get(frame.name, 0.0) + frame.own
        for call in frame.calls.values():
            add(call)

    add(root)
    top = sorted(own.items(), key=lambda item: -item[1])[:3]
    if not top or not root.total:
        return f"{what.capitalize()}: no operators were seen"
    parts = [f"{short(name)} takes {100 * time / root.total:.0f} %" for name, time in top[:1]]
    parts += [f"{short(name)} {100 * time / root.total:.0f} %" for name, time in top[1:]]
    return f"{what.capitalize()}: {', '.join(parts)} of the time by themselves"


def short(name: str) -> str:
    """`/long/path/src/a/b.py(12): forward` as `a/b.py: forward`; operators without their namespace."""
    name = re.sub(r"^.*?(?:site-packages|/src)/", "", name)
    name = re.sub(r"\(\d+\)", "", name).replace("aten::", "")
    name = re.sub(r"<built-in method (\S+) .*>", r"\1", name)
    return re.sub(r" object at 0x[0-9a-f]+", "", name)


def _fitted(text: str, width: float) -> str:
    room = int(width / LETTER)
    if len(text) > room and ": " in text:
        text = text.rsplit(": ", 1)[1]
    return text if len(text) <= room else text[: room - 1] + "." if room >= 6 else ""


def top_table(rows: Sequence[tuple[str, float, int]], whole: float) -> str:
    """Markdown of operators (name, own microseconds, calls), the largest first."""
    lines = ["| operator | own time, ms | share | calls |", "|---|---:|---:|---:|"]
    for name, own, calls in rows:
        lines.append(f"| `{name}` | {own / 1000:,.2f} | {100 * own / whole:.1f} % | {calls:,} |")
    return "\n".join([*lines, ""])
