"""The galleries and attention maps that caption runs have left in their folders."""

from __future__ import annotations

import json
import re
from pathlib import Path

from src.findings import Image
from src.seal import altered
from src.sweep.captions import CaptionSweep
from src.sweep.runs import RunFiles, plain

MOST_MAPS = 3  # attention pictures a sweep


def images_of(
    folder: Path, found: CaptionSweep, name: str, command: str
) -> tuple[tuple[Image, ...], tuple[str, ...]]:
    """Galleries and attention maps that the runs have left, and sentences on those that are gone or damaged.

    Of each decoder the run of the lowest seed: none is chosen by its score. `name` says whose data they are,
    `command` trained the sweep.
    """
    images: list[Image] = []
    missing: list[str] = []
    shown_: set[object] = set()
    for run in sorted((run for run in found.runs if run.name in found.results), key=_seed):
        attention = run.settings.get("attention")
        if attention in shown_:
            continue
        shown_.add(attention)
        decoder = "with" if attention else "without"
        captions = _gallery_captions(folder / run.name)
        how = f"{name}, {decoder} attention, seed {plain(run.settings.get('seed'), 20)}"
        said = "; ".join(f"{file}: {caption}" for file, caption in captions.items())
        prefix = f"{slug(folder.name)}-{decoder}-attention"
        wanted = [
            Image(
                f"{prefix}-gallery",
                f"Test images with the captions written for them ({how})",
                f"Test images, the caption written for each in bold, its references below. {said}".strip(),
                folder / run.name / "gallery.png",
            )
        ]
        from src.captioning.show import map_names  # late: it imports torch

        names = map_names(list(captions))
        for number, (file, caption) in enumerate(list(captions.items())[:MOST_MAPS] if attention else (), 1):
            wanted.append(
                Image(
                    f"{prefix}-map-{number}",
                    f'Where the decoder looked as it wrote "{caption}" ({how})',
                    f"The test image {file}, then a map a word, brighter where attention was.",
                    folder / run.name / "attention" / f"{names[file]}.png",
                )
            )
        for image in wanted:
            if _is_png(image.path):
                images.append(image)
            else:
                # Only a run that is trained afresh draws again.
                missing.append(f"{image.path} is gone or damaged: {_forced(command)}")
    return tuple(images), tuple(missing)


def _gallery_captions(run: Path) -> dict[str, str]:
    """File name and caption of each image in the run's gallery, in its order; none of damaged files."""
    from src.captioning.show import picked_rows
    from src.plain_yaml import read_settings

    try:
        results = json.loads((run / "results.json").read_text("utf-8"))
        if "captions.json" in altered(run, results):
            return {}
        entries = json.loads((run / "captions.json").read_text("utf-8"))
        captions = {
            str(entry.get("file_name", entry["image_id"])): str(entry["caption"]) for entry in entries
        }
        gallery = read_settings(run / "config.yaml").get("gallery") or []
        files = list(captions)
        rows = picked_rows(files, [str(name) for name in gallery]) if files else []
    except Exception:  # hand-edited JSON and YAML fail in a dozen ways, and the pictures do without
        return {}
    return {plain(files[row], 200): plain(captions[files[row]]) for row in rows}


def _is_png(path: Path) -> bool:
    """Whether there is a PNG file whose parts have their checksums."""
    from PIL import Image as Opened

    try:
        with Opened.open(path) as image:
            image.verify()
            return image.format == "PNG"
    except Exception:  # Pillow given garbage raises nearly anything
        return False


def _forced(command: str) -> str:
    if "ARGS='" in command:
        return command.replace("ARGS='", "ARGS='force=true ")
    return f"{command} ARGS='force=true'" if command.startswith("make") else f"{command} force=true"


def _seed(run: RunFiles) -> tuple[float, str]:
    seed = run.settings.get("seed")
    return (float(seed) if isinstance(seed, int) else float("inf"), run.name)


def slug(text: str) -> str:
    """Letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "captions"
