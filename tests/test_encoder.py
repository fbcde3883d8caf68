"""Encoders give regions of any backbone, stay as they were trained, and say what is wrong with weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any
from urllib.error import URLError

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models

from src.captioning.encoder import (
    FREQUENCIES,
    POSITION_DIM,
    Encoder,
    EncoderError,
    append_positions,
    build_encoder,
    preprocess,
)

BACKBONES = "src.captioning.backbones"
LITE = {"_target_": f"{BACKBONES}.efficientnet_lite0"}
FINER = {**LITE, "finer": True}
TINY = {"_target_": f"{BACKBONES}.Tiny"}


def torchvision(model: str, **more: Any) -> dict[str, Any]:
    return {"_target_": f"{BACKBONES}.torchvision_backbone", "model": model, "pretrained": False, **more}


def timm(model: str, **more: Any) -> dict[str, Any]:
    return {"_target_": f"{BACKBONES}.timm_backbone", "model": model, "pretrained": False, **more}


class Patches(nn.Module):
    """What a stranger writes: regions of patches, with a normalisation of its own or ImageNet's."""

    def __init__(self, width: int = 5, flat: bool = True) -> None:
        super().__init__()
        self.convolution, self.flat = nn.Conv2d(3, width, 8, stride=8), flat

    def forward(self, images: Tensor) -> Tensor:
        maps: Tensor = self.convolution(images)
        return maps.flatten(2).transpose(1, 2) if self.flat else maps


STRANGER = {"_target_": "tests.test_encoder.Patches"}


def images(count: int, size: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator)


def with_uneven_statistics(network: nn.Module) -> nn.Module:
    """Batch norms that do something, as trained ones do."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network


@pytest.mark.parametrize(
    ("config", "size", "grid", "dim"),
    [
        (LITE, 100, (4, 4), 1280),
        (FINER, 256, (16, 16), 112),
        (torchvision("resnet18"), 500, (16, 16), 512),  # the protocol's 256 regions x 512
        (torchvision("convnext_tiny"), 64, (2, 2), 768),
        (timm("resnet18"), 65, (3, 3), 512),
        (timm("vit_tiny_patch16_224"), 224, (14, 14), 192),  # without its class token
        (TINY, 100, (7, 7), 128),
        ({**TINY, "blocks": 1, "both": True}, 100, (7, 7), 256),
        (STRANGER, 24, (3, 3), 5),
        ({**STRANGER, "flat": False}, 24, (3, 3), 5),
    ],
)
def test_regions_row_by_row(config: dict[str, Any], size: int, grid: tuple[int, int], dim: int) -> None:
    encoder = build_encoder(config, size)
    assert (encoder.grid, encoder.dim, encoder.size) == (grid, dim, size)
    batch = images(2, size)
    with torch.no_grad():
        regions = encoder(batch)
        found = encoder.backbone((batch - encoder.mean) / encoder.std)
    assert regions.shape == (2, grid[0] * grid[1], dim)
    if found.dim() == 4:
        row, column = grid[0] - 1, grid[1] // 2
        torch.testing.assert_close(regions[1, row * grid[1] + column], found[1, :, row, column])


@pytest.mark.parametrize(
    ("config", "size", "total", "squares"),
    [
        (LITE, 128, 10549.0946, 30852.9500),
        (LITE, 75, 2520.9351, 5345.2201),
        (FINER, 128, 648.5531, 402710.6902),
        (FINER, 75, -1173.4989, 151216.1234),
    ],
)
def test_lite0_gives_the_features_of_its_weights_package(
    config: dict[str, Any], size: int, total: float, squares: float
) -> None:
    """The sums are those of the network that came with the weights, efficientnet-lite-pytorch 0.1.0."""
    places = torch.arange(2 * 3 * size * size).view(2, 3, size, size)
    with torch.no_grad():
        regions = build_encoder(config, size)((places * places // 7 + places * 31) % 256)
    assert regions.double().sum().item() == pytest.approx(total, rel=1e-4, abs=0.1)
    assert regions.double().square().sum().item() == pytest.approx(squares, rel=1e-4)


def test_pretrained_batch_norms_stay_in_eval_frozen_or_fine_tuned() -> None:
    """The course's script left its ResNet in training mode."""
    encoder = build_encoder(torchvision("resnet18"), 64).train()
    assert not any(module.training for module in encoder.modules())
    one, other = images(1, 64), images(3, 64, seed=1) // 8
    alone, among = encoder(one), encoder(torch.cat([one, other]))[:1]
    assert not alone.requires_grad
    torch.testing.assert_close(alone, among, rtol=1e-4, atol=1e-4)
    encoder.fine_tune()
    encoder.train()
    statistics = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder(images(2, 64)).sum().backward()
    assert all(weight.grad is not None for weight in encoder.parameters())
    assert all(torch.equal(value, statistics[name]) for name, value in encoder.named_buffers())
    tiny = build_encoder(TINY, 32, train_norms=True)
    before = tiny.digest
    tiny.train()(images(4, 32))
    assert tiny.digest == before  # frozen
    tiny.fine_tune()
    tiny.train()(images(4, 32))
    assert tiny.digest != before  # running statistics


def test_digest_is_that_of_the_weights() -> None:
    encoder, again = build_encoder(LITE, 224), build_encoder(LITE, 64)
    assert encoder.digest == again.to(memory_format=torch.contiguous_format).digest  # type: ignore[call-overload]
    assert encoder.digest != build_encoder(FINER, 224).digest
    next(again.parameters()).data[0, 0, 0, 0] += 1e-6
    assert encoder.digest != again.digest


def test_weights_from_a_local_file(tmp_path: Path) -> None:
    reference = with_uneven_statistics(models.resnet18()).eval()
    state = reference.state_dict()
    parallel = {f"module.{name}": value for name, value in state.items()}
    contents: dict[str, Any] = {
        "whole": state,
        "headless": {name: value for name, value in state.items() if name[:3] != "fc."},
        "timm": {"epoch": 90, "arch": "resnet18", "state_dict": parallel},
        "torchvision": {"model": state, "optimizer": {"state": {}}},
    }
    batch = images(2, 64)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        x = (batch / 255 - mean) / std
        for name, layer in reference.named_children():
            x = layer(x) if name not in {"avgpool", "fc"} else x
        for name, content in contents.items():
            torch.save(content, tmp_path / name)
            for config in (torchvision, timm):  # timm's ResNet has torchvision's names
                regions = build_encoder(config("resnet18", weights=str(tmp_path / name)), 64)(batch)
                torch.testing.assert_close(regions, x.flatten(2).transpose(1, 2), rtol=1e-3, atol=1e-4)


def test_weights_that_are_none_are_named(tmp_path: Path) -> None:
    state = models.resnet18().state_dict()
    wide = {**state, "layer1.0.conv1.weight": torch.zeros(1, 2)}
    less = {name: value for name, value in state.items() if name != "bn1.bias"}
    more, pickled = models.resnet34().state_dict(), nn.Identity()
    contents = {"wide": wide, "less": less, "list": [1, 2], "resnet34": more, "pickled": pickled}
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    (tmp_path / "text").write_text("no weights at all")
    (tmp_path / "cut").write_bytes((tmp_path / "less").read_bytes()[:-1000])
    expected = {
        "wide": r"size mismatch for layer1.0.conv1.weight",
        "less": r'Missing key\(s\) in state_dict: "bn1.bias"',
        "resnet34": r'Unexpected key\(s\) in state_dict: "layer1.2.conv1.weight"',
        "absent": "No such file",
        ".": "Is a directory",
        **dict.fromkeys(("list", "cut"), "holds no weights for this encoder"),
        **dict.fromkeys(("pickled", "text"), "is no file of tensors"),
    }
    for name, message in expected.items():
        with pytest.raises(EncoderError, match=message) as caught:
            build_encoder(torchvision("resnet18", weights=str(tmp_path / name)), 64)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("config", [torchvision, timm])
def test_offline_says_how_to_go_on(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_args: object, **_options: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(EncoderError, match=r"the weights of resnet\d\d cannot be fetched") as caught:
        build_encoder(config("resnet18" if config is torchvision else "resnet26", pretrained=True), 64)
    assert "encoder.weights=FILE" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("config", "size", "message"),
    [
        (torchvision("resnet19"), 64, "torchvision has no such model; did you mean 'resnet18'"),
        (timm("resnet19"), 64, "timm has no such model; did you mean 'resnet18'"),
        (STRANGER, 7, r"Patches fails on images of 7 pixels \(.*\): try another encoder.size"),
        ({"_target_": "torch.nn.Flatten"}, 8, r"gives \(1, 192\) for an image: regions \(1, L, D\) or a map"),
    ],
)
def test_impossible_encoders_are_named(config: dict[str, Any], size: int, message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        build_encoder(config, size)


def test_preprocessing_squeezes_the_whole_image_smoothly() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 40, 3), dtype=torch.uint8, generator=generator)
    assert torch.equal(preprocess(Image.fromarray(pixels.numpy(), "RGB"), 40), pixels.permute(2, 0, 1))
    halves = Image.new("RGB", (400, 100), (255, 0, 0))
    halves.paste((0, 0, 255), (200, 0, 400, 100))
    small = preprocess(halves, 32)
    assert small[:, 16, 0].tolist() == [255, 0, 0]  # both borders are still there
    assert small[:, 16, -1].tolist() == [0, 0, 255]
    stripes = (torch.arange(320 * 320) % 2 * 255).byte().view(320, 320).numpy()
    grey = preprocess(Image.fromarray(stripes).convert("RGB"), 32).float()
    assert (grey - 127.5).abs().max() < 10  # where no antialiasing gives 0 or 255


def test_an_encoder_of_a_checkpoint_takes_no_weights() -> None:
    config = torchvision("resnet18", pretrained=True, weights="nowhere.pth")
    assert isinstance(build_encoder(config, 32, with_weights=False), Encoder)


@pytest.mark.parametrize("grid", [(2, 3), (1, 1), (8, 8)])
def test_every_region_is_told_from_every_other_and_keeps_its_features(grid: tuple[int, int]) -> None:
    regions = torch.randn(2, grid[0] * grid[1], 5)
    found = append_positions(regions, grid)
    assert found.shape == (2, grid[0] * grid[1], 5 + POSITION_DIM)
    assert torch.equal(found[..., :5], regions)
    assert torch.equal(found[0, :, 5:], found[1, :, 5:])
    assert len({tuple(row) for row in found[0, :, 5:].round(decimals=4).tolist()}) == grid[0] * grid[1]


def test_rows_are_vertical() -> None:
    places = append_positions(torch.zeros(1, 6, 0), (2, 3))[0]
    # sin(pi / 2 * y), sin(pi / 2 * x) of the lower left region of 2 rows and 3 columns: y = 0.5, x = -2/3
    assert FREQUENCIES[0] == 0.5
    expected = [math.sin(math.pi / 4), math.sin(-math.pi / 3)]
    torch.testing.assert_close(places[3, :2], torch.tensor(expected))
