"""Filters: kernels as the report draws them, layers read by hooks, top images, synthetic inputs."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor, nn

from src import figures
from src.classification.datasets import FASHION_MNIST_CLASSES
from src.classification.module import Classifier, scaled
from src.filters import pictures
from src.filters.activations import (
    convolutions,
    input_window,
    layer_outputs,
    protocol_kernels,
    top_activations,
)
from src.filters.late import KINDS, PLACES, object_images
from src.filters.synthesis import gradient_ascent, unit
from src.run.checkpoints import write_checkpoint
from src.run.trained import load_trained
from tests.made_up_runs import NETWORK, classifier_run

CONVNET = {**NETWORK, "dropout": 0.5}
SGD = {"_target_": "torch.optim.SGD", "lr": 0.1}


def classifier(network: dict[str, object] = CONVNET, size: tuple[int, int, int] = (1, 28, 28)) -> Classifier:
    torch.manual_seed(3)
    names = [f"class {k}" for k in range(10)]
    return Classifier(network=network, optimizer=SGD, image_size=list(size), class_names=names).eval()


def images(count: int, size: tuple[int, int, int] = (1, 28, 28)) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, *size), generator=generator, dtype=torch.uint8)


def test_kernels_of_input_channel_0_share_the_layers_scale() -> None:
    weight = torch.zeros(32, 16, 3, 3)
    weight[0, 0, 1, 1], weight[5, 7, 0, 0], weight[3, 2, 0, 0] = 1.0, 3.0, -1.0
    found = protocol_kernels(weight)
    assert found.shape == (32, 3, 3)
    assert found[0, 1, 1] == 0.5  # the layer reaches from -1 to 3, in other channels
    assert found[5].unique().tolist() == [0.25]
    assert not protocol_kernels(torch.ones(2, 1, 3, 3)).any()


def test_layer_outputs_of_any_module() -> None:
    """Nested names, in-place layers, and the network itself."""
    network = nn.Sequential(nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(inplace=True)))
    with torch.no_grad():
        network[0][0].weight.copy_(torch.eye(2))  # type: ignore[index]
    found = layer_outputs(network, torch.tensor([[1.0, -2.0]]), ["0.1", "0.0", ""])
    assert found["0.0"].tolist() == [[1.0, -2.0]]
    assert found["0.1"].tolist() == found[""].tolist() == [[1.0, 0.0]]
    assert not any(part._forward_hooks for part in network.modules())


def test_top_activations_are_the_highest_values_of_all_images() -> None:
    module, pixels = classifier(), images(700)  # more than a batch
    values, chosen, places = top_activations(module.network, "conv2", pixels, scaled, 3)
    with torch.no_grad():
        maps = layer_outputs(module.network, scaled(pixels), ["conv2"])["conv2"]  # (N, F, 12, 12)
    heights = maps.amax((2, 3))
    expected = heights.topk(3, dim=0)
    assert torch.equal(chosen, expected.indices.T)
    torch.testing.assert_close(values, expected.values.T)
    torch.testing.assert_close(maps[chosen[4, 0], 4].flatten()[places[4, 0]], values[4, 0])


@pytest.mark.parametrize(("layer", "side"), [("conv1", 3), ("conv2", 8)])
def test_window_lies_within_the_receptive_field(layer: str, side: int) -> None:
    module, image = classifier(), scaled(images(1))
    place = 5 * {"conv1": 28, "conv2": 12}[layer] + 7
    top, left, bottom, right = input_window(module.network, layer, image, 2, place)
    first = {"conv1": (4, 6), "conv2": (9, 13)}[layer]  # conv2: pixels 10, 14, less padding
    assert first[0] <= top < bottom <= first[0] + side
    assert first[1] <= left < right <= first[1] + side
    changed = image.clone()
    changed[:, :, top:bottom, left:right] += 0.5
    with torch.no_grad():
        before, after = (layer_outputs(module.network, x, [layer])[layer] for x in (image, changed))
    assert before[0, 2, 5, 7] != after[0, 2, 5, 7]


def test_gradient_ascent_reaches_the_exact_optimum_of_the_first_layer() -> None:
    """White where the kernel is positive, black elsewhere: bias plus the sum of positive weights."""
    network = classifier().network.requires_grad_(False)
    activation = unit(network, "conv1", range(16))
    found = gradient_ascent(activation, (16, 1, 28, 28), rate=0.3)
    assert 0 <= found.min() <= found.max() <= 1
    conv1 = convolutions(network)["conv1"]
    assert conv1.bias is not None
    best = conv1.bias + conv1.weight.clamp_min(0).sum((1, 2, 3))
    torch.testing.assert_close(activation(found), best, atol=1e-3, rtol=0)


def test_images_that_excite_a_class_are_of_that_class() -> None:
    module: Any = load_trained("best").module
    picture = pictures.synthetic_picture(module)
    names = {axes.get_title(): axes for axes in picture.figure.axes}
    images = torch.stack(
        [
            torch.from_numpy(np.asarray(names[name].images[0].get_array()))[None]
            for name in FASHION_MNIST_CLASSES
        ]
    )
    with torch.no_grad():
        assert module(images).softmax(1).diagonal().min() > 0.9


def test_regularisation_smooths() -> None:
    network = classifier().network.requires_grad_(False)
    plain, calm = (
        gradient_ascent(unit(network, "", [0]), (1, 1, 28, 28), steps=20, variation=v, jitter=j)
        for v, j in ((0.0, 0), (0.5, 2))
    )
    assert calm.diff(dim=3).abs().mean() < 0.7 * plain.diff(dim=3).abs().mean()


def test_objects_stand_where_they_should() -> None:
    """Pictures of a kind differ where the object stands, and nowhere else."""
    drawn = object_images(96, seed=3).int()  # (K, P, 3, S, S)
    assert drawn.shape[:2] == (len(KINDS), len(PLACES))
    for kind in range(len(KINDS)):
        background = drawn[kind].median(0).values
        for place, (x, y) in enumerate(PLACES):
            changed = (drawn[kind, place] - background).abs().amax(0) > 30
            rows, columns = changed.nonzero().float().mean(0) / 96
            assert abs(columns - x) < 0.06, KINDS[kind]
            assert abs(rows - y) < 0.06, KINDS[kind]


RESNET = {"_target_": "src.classification.networks.ResNetSmall"}


def draw(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The status of `python -m src.filters`."""
    from src.filters.__main__ import main

    monkeypatch.setattr(sys, "argv", ["filters", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_command_line(
    tmp_path: Path, idx_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run's folder gives all pictures; errors are named."""
    saved: list[str] = []

    def save(figure: Figure, path: Path) -> list[Path]:
        assert figures.rendered(figure, "png", dpi=20).startswith(b"\x89PNG")
        saved.append(path.name)
        return [path]

    monkeypatch.setattr(figures, "save", save)  # in full and as SVG it takes seconds
    monkeypatch.setattr(pictures, "TOP", 2)
    run = classifier_run(tmp_path / "sweep", data=idx_data, name="run")
    Image.new("RGB", (50, 40), "white").save(tmp_path / "photo.png")
    out = f"out={tmp_path / 'out'}"
    assert draw(monkeypatch, str(run), out, f"image={tmp_path / 'photo.png'}") == 0
    assert saved == [
        *("kernels-conv1", "kernels-conv2", "activations-photo-png", "synthetic-inputs", "top-conv2"),
    ]

    assert draw(monkeypatch, str(run), out, "layer=conv9") == 1
    assert "layer=conv9: the network's convolutions are conv1, conv2" in capsys.readouterr().err
    dense = classifier({"_target_": "torch.nn.Flatten"})
    content = {"hyper_parameters": dict(dense.hparams), "state_dict": dense.state_dict()}
    write_checkpoint(tmp_path / "dense.ckpt", content)
    assert draw(monkeypatch, str(tmp_path / "dense.ckpt"), out) == 1
    assert "no classifier with 2-d convolutions" in capsys.readouterr().err
    assert draw(monkeypatch, str(tmp_path / "nothing"), out) == 1
    assert "there is no such file or folder" in capsys.readouterr().err


def test_colour_images_and_many_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "TOP", 2)
    size = (3, 32, 32)
    module = classifier({**RESNET, "dropout": 0.1, "image_size": list(size), "classes": 10}, size)
    layers = list(convolutions(module.network))
    assert len(pictures.kernel_pictures(module)) == 2
    assert pictures.map_picture(module, images(1, size)[0], "an image").figure.get_suptitle()
    assert pictures.top_picture(module, layers[-1], images(20, size)).name.startswith("top-")
