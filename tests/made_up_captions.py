"""A small captioned data set in Karpathy's layout that can be learned: coloured squares on grey."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"red": (220, 40, 40), "green": (40, 180, 60), "blue": (50, 70, 220), "white": (250, 250, 250)}
PLACES = {"left": 4, "right": 36}
SIDE = 64


def write_captioned(root: Path, train: int = 24, val: int = 8, test: int = 8) -> Path:
    """Write dataset.json and images/ into `root`; each image has a square of some colour on one side."""
    rng = np.random.default_rng(0)
    (root / "images").mkdir(parents=True)
    entries = []
    splits = ["train"] * train + ["val"] * val + ["test"] * test
    kinds = [(colour, place) for colour in COLOURS for place in PLACES]
    for number, split in enumerate(splits):
        colour, place = kinds[number % len(kinds)]
        pixels = rng.integers(90, 130, (SIDE, SIDE, 3), dtype=np.uint8)
        x = PLACES[place] + int(rng.integers(-3, 4))
        pixels[20:44, x : x + 24] = COLOURS[colour]
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
        texts = [
            f"a {colour} square is on the {place} .",
            f"There is a {colour} square on the {place}",
            f"on the {place} lies a {colour} square",
        ]
        box = [x / SIDE, 20 / SIDE, (x + 24) / SIDE, 44 / SIDE]
        entries.append(
            {
                "filename": f"{number}.png",
                "imgid": number,
                "split": split,
                "sentences": [{"raw": text, "tokens": text.split()} for text in texts],
                "objects": [{"words": ["square"], "box": box}],
            }
        )
    (root / "dataset.json").write_text(json.dumps({"images": entries, "dataset": "squares"}))
    return root
