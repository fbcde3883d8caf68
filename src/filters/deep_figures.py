"""Pictures of what deep filters answer to."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator
from torch import Tensor

from src.figures import HEAT, PALETTE, look, subplots, title
from src.filters.deep import LAYERS
from src.filters.deep_study import Boxes, Favourites, Moved
from src.filters.image_sets import SIDE, ImageSet

HIT, MISS = PALETTE[2], PALETTE[1]
MARK = "#00E5FF"  # a hue that aerial images do not hold
_COLOURS = dict(zip(("early", "middle", "late"), (PALETTE[4], PALETTE[5], PALETTE[0]), strict=True))
_MARKERS = {"early": "o", "middle": "s", "late": "D"}


def favourites_figure(
    favourites: list[Favourites], inputs: Mapping[str, Tensor], images: ImageSet, headline: str
) -> Figure:
    """A row a filter: its synthetic input, then the images that excite it most, with the place.

    Args:
        inputs: a layer's `when` -> synthetic inputs (filters of that layer, 3, H, W) in 0..255.
    """
    columns = 1 + max(len(one.images) for one in favourites)
    with look():
        figure, axes_of = subplots(len(favourites), columns, height=1.62 * len(favourites) + 0.6)
        count: dict[str, int] = {}
        for row, one in zip(axes_of, favourites, strict=True):
            when = one.layer.when
            number = count[when] = count.get(when, -1) + 1
            _image(row[0], inputs[when][number], "synthetic input")
            row[0].set_ylabel(f"{when}, filter {one.filter}\nchosen for {one.kind}", fontsize=8)
            for axes, index, place, hit in zip(row[1:], one.images, one.places, one.hits, strict=False):
                shown = [
                    kind for kind, is_one in zip(images.kinds, images.member[index], strict=True) if is_one
                ]
                name = one.kind if hit else shown[0] if shown else "no kind"
                _image(axes, images.pixels[index], name, HIT if hit else MISS)
                x, y = (place * SIDE).tolist()
                axes.plot(x, y, "o", ms=15, mfc="none", mec="black", mew=3.2)
                axes.plot(x, y, "o", ms=15, mfc="none", mec=MARK, mew=1.6)
        title(figure, headline)
    return figure


def _image(axes: Axes, pixels: Tensor, name: str, colour: str = "") -> None:
    """An image (3, H, W) in 0..255 with its name above, framed and named in a colour."""
    shown = pixels.permute(1, 2, 0).clamp(0, 255).byte().numpy()
    side = shown.shape[0]
    axes.imshow(shown, interpolation="nearest" if side < 100 else "antialiased", extent=(0, side, side, 0))
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.set_title(name, fontsize=8, loc="center", color=colour or "black", pad=3)
    for spine in axes.spines.values():
        spine.set(visible=True, color=colour or "#888888", linewidth=2.5 if colour else 0.8)


def moved_figure(moved: Moved, headline: str) -> Figure:
    """One object at all its places: where it stands and where the filter of each layer peaks.

    Above, the late filter's map over three of the pictures; below, all positions, a panel a layer.
    """
    late = LAYERS[-1].when
    maps, pictures = moved.maps[late], moved.pictures[moved.nouns[0]]
    last = len(pictures) - 1
    with look():
        figure, axes_of = subplots(2, 3, height=6.0)
        top = float(maps.max()) or 1.0
        for axes, index in zip(axes_of[0], (0, last // 2, last), strict=True):
            _image(axes, pictures[index], f"position {index + 1} of {last + 1}")
            heat = axes.imshow(
                maps[index],
                cmap=HEAT,
                alpha=(0.7 * maps[index] / top).sqrt().numpy(),
                vmin=0,
                vmax=top,
                extent=(0, SIDE, SIDE, 0),
                interpolation="nearest",
            )
        bar = figure.colorbar(heat, ax=list(axes_of[0]), fraction=0.03, pad=0.01)
        bar.set_label(f"response of late filter {moved.filters[late][0]}", fontsize=8)
        for axes, layer in zip(axes_of[1], LAYERS, strict=True):
            found, places = moved.followed[layer.when][0], (moved.centres * SIDE).numpy()
            peaks = (found.place * SIDE).numpy()
            for (x0, y0), (x1, y1) in zip(places, peaks, strict=True):
                axes.plot([x0, x1], [y0, y1], color="#888888", lw=1, zorder=1)
            axes.plot(*places.T, "o", ms=9, mfc="none", mec=PALETTE[0], label="object's centre", zorder=2)
            axes.plot(*peaks.T, "x", ms=6, mew=1.8, color=PALETTE[1], label="filter's peak", zorder=3)
            axes.set(xlim=(0, SIDE), ylim=(SIDE, 0), aspect="equal", xlabel="x (pixels)")
            axes.set_title(
                f"{layer.when}, filter {moved.filters[layer.when][0]}\n"
                f"{float(found.distance.mean()):.0f} px off on average, cell {layer.stride} px",
                fontsize=9,
            )
        axes_of[1, 0].set_ylabel("y (pixels)")
        handles, labels = axes_of[1, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=2)
        title(figure, headline)
    return figure


def boxes_figure(boxes: Boxes, headline: str) -> Figure:
    """How much stronger the filters chosen for a kind are inside its boxes: a row a kind, a mark a layer."""
    late = boxes.ratio[LAYERS[-1].when]
    order = np.argsort(late)
    with look():
        figure, axes_of = subplots(height=0.28 * len(order) + 1.5)
        axes = axes_of[0, 0]
        floor = 0.1  # a filter that is silent inside has no place on a logarithmic scale
        for layer in LAYERS:
            values = np.maximum(np.array(boxes.ratio[layer.when])[order], floor)
            axes.plot(
                values,
                range(len(order)),
                _MARKERS[layer.when],
                color=_COLOURS[layer.when],
                label=layer.when,
                ms=7,
            )
        axes.axvline(1, color="#222222", lw=1)
        axes.set_xscale("log")
        axes.set_yticks(range(len(order)), [boxes.kinds[place] for place in order])
        axes.set_xlabel(
            "mean response inside the kind's boxes / outside of them (log scale; 1: no difference)"
        )
        low, high = axes.get_xlim()
        marks = [mark for mark in (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 1000) if low <= mark <= high]
        axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
        axes.xaxis.set_minor_locator(NullLocator())
        figure.legend(*axes.get_legend_handles_labels(), loc="outside right upper", title="layer")
        title(figure, headline)
    return figure
