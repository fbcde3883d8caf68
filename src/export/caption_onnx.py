"""Caption or label images with the model in this folder: python caption_onnx.py IMAGE ...

Needs onnxruntime, numpy and Pillow; nothing of the project that made the model. What the model is (vocabulary or
labels, size of the images, search) stands inside its files. Files of 8 bits are read; depth beyond that is not.
Captions are the decoder's own, also of a run whose test chose them by consensus.

Dimension letters: B images, K hypotheses an image (beams), V vocabulary.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

PAD, START, END, UNKNOWN = range(4)
Arrays = dict[str, np.ndarray]


class Model:
    """An exported model.

    Args:
        about: what its files say of it.
        run: computes a graph by its name: input arrays by name to output arrays by name.
    """

    def __init__(self, about: dict[str, Any], run: Callable[[str, Arrays], Arrays]) -> None:
        self.about, self.run = about, run

    def pixels(self, path: str | Path) -> np.ndarray:
        """An image file as the model takes it, (C, H, W) in uint8.

        Raises:
            OSError: it cannot be read.
            ValueError: it is deeper than 8 bits.
        """
        with Image.open(path) as file:
            bits = getattr(file, "tag_v2", {}).get(258, (8,))  # of a TIFF's samples
            if file.mode[0] in "IF" or max(bits) > 8:
                raise ValueError("deeper than 8 bits: save it with 8")
            image = ImageOps.exif_transpose(file)
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            image = image.convert("RGB")
        channels, height, width = self.about["image_size"]
        if channels == 1:  # the whole of it, centred on black
            # a longer or thinner one would be fitted to a width or height of 0
            sides = max(image.width, -(-image.height // height)), max(image.height, -(-image.width // width))
            grey = image.convert("L").resize(sides)
            grey = ImageOps.pad(grey, (width, height), Image.Resampling.BILINEAR, color=0)
            return np.asarray(grey)[None]
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).transpose(2, 0, 1)

    def labels(self, images: np.ndarray, top: int = 3) -> list[list[tuple[str, float]]]:
        """The most probable classes of images (B, C, H, W), and their probabilities."""
        probabilities = np.exp(log_softmax(self.run("classifier", {"images": images})["scores"]))
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :top]
        names = self.about["labels"]
        return [
            [(names[k], float(row[k])) for k in places]
            for row, places in zip(probabilities, best, strict=True)
        ]

    def captions(self, images: np.ndarray, beam: int | None = None) -> list[tuple[str, float]]:
        """Captions of images (B, 3, S, S) and their log-probabilities; by default with as many beams as in training.

        The `beam` best hypotheses stay at every step, by score / length**length_penalty; the best one that ever
        ended is the caption, or the best unfinished one. A beam of 1 is greedy search.
        """
        steps, penalty = self.about["max_words"], np.float32(self.about["length_penalty"])
        K = beam or self.about["beam"]
        B = len(images)
        found = self.run("start", self.run("encoder", {"images": images}))
        memory = {name: part for name, part in found.items() if name.startswith("memory")}
        state = {n: np.repeat(part[:, None], K, 1) for n, part in found.items() if n.startswith("state")}
        rows = np.arange(B)[:, None]
        tokens, words = np.full((B, K), START), np.zeros((B, K, 0), np.int64)
        scores, ended = np.full((B, K), -np.inf, np.float32), np.zeros((B, K), np.bool_)
        scores[:, 0] = 0  # all hypotheses of an image start alike
        lengths = np.ones((B, K), np.float32)
        best: list[tuple[float, float, list[int]]] = [(-np.inf, 0.0, [])] * B  # rank, score, words
        for step in range(1, steps + 1):
            output = self.run("step", {"tokens": tokens, **state, **memory})
            gains = log_softmax(output["scores"])
            gains[:, :, [PAD, START, UNKNOWN]] = -np.inf
            gains[ended] = -np.inf
            gains[ended, END] = 0  # what ended stays as it is
            sums = (scores[:, :, None] + gains).reshape(B, -1)
            lengths = np.where(ended, lengths, np.float32(step))
            ranks = sums / np.repeat(lengths**penalty, gains.shape[2], 1)
            chosen = np.argsort(-ranks, axis=1, kind="stable")[:, :K]
            parents, tokens = np.divmod(chosen, gains.shape[2])
            just_ended = (tokens == END) & ~ended[rows, parents]
            scores, lengths, ended = sums[rows, chosen], lengths[rows, parents], tokens == END
            words = np.concatenate([words[rows, parents], tokens[:, :, None]], 2)
            for b, k in np.argwhere(just_ended):
                if (rank := float(ranks[b, chosen[b, k]])) > best[b][0]:
                    best[b] = (rank, float(scores[b, k]), words[b, k].tolist())
            # Sums only fall: a hypothesis' rank can at best become its sum over the greatest length.
            bound = np.where(ended, -np.inf, scores).max(1) / np.float32(steps) ** penalty
            if not any(bound[b] > best[b][0] for b in range(B)):
                break
            state = {name: output[f"new_{name}"][rows, parents] for name in state}
        for b in range(B):
            if best[b][0] == -np.inf:
                best[b] = (0.0, float(scores[b, 0]), words[b, 0].tolist())
        return [(self.text(numbers), score) for _, score, numbers in best]

    def text(self, numbers: Sequence[int]) -> str:
        """Words up to the end."""
        kept = list(numbers)[: list(numbers).index(END)] if END in numbers else numbers
        return " ".join(self.about["vocabulary"][number] for number in kept if number > UNKNOWN)


def log_softmax(scores: np.ndarray) -> np.ndarray:
    """Logarithms of probabilities, over the last dimension."""
    shifted = scores - scores.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def load(folder: str | Path) -> Model:
    """The model in a folder."""
    import onnxruntime

    sessions = {
        path.stem: onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        for path in sorted(Path(folder).glob("*.onnx"))
    }
    about = json.loads(next(iter(sessions.values())).get_modelmeta().custom_metadata_map["model"])

    def run(name: str, inputs: Arrays) -> Arrays:
        session = sessions[name]
        taken = {one.name: inputs[one.name] for one in session.get_inputs()}
        return dict(zip([one.name for one in session.get_outputs()], session.run(None, taken), strict=True))

    return Model(about, run)


if __name__ == "__main__":
    model, status = load(Path(__file__).parent), 0
    for file in sys.argv[1:] or sys.exit(__doc__):
        try:
            image = model.pixels(file)[None]
        except (OSError, ValueError, Image.DecompressionBombError) as error:
            print(f"{file}: {error}", file=sys.stderr)
            status = 1
            continue
        if "labels" in model.about:
            print(
                file, *(f"{name} {probability:.1%}" for name, probability in model.labels(image)[0]), sep="\t"
            )
        else:
            print(file, *model.captions(image)[0], sep="\t")
    sys.exit(status)
