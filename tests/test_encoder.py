"""Encoders give the regions they promise, stay as they were trained, and say what is wrong with weights."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import models

from src.captioning.encoder import Encoder, EncoderError, build_encoder, preprocess
from src.captioning.folding import fold
from src.images import read_rgb

UCM = Path(__file__).parents[1].parent / "shared" / "data" / "ucm_captions"


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
            nn.init.uniform_(module.bias, -0.2, 0.2)
    return network


@pytest.mark.parametrize(
    ("name", "size", "side", "dim"),
    [
        ("efficientnet_lite0", 224, 7, 1280),
        ("efficientnet_lite0", 256, 8, 1280),
        ("efficientnet_lite0_s16", 256, 16, 112),
        ("resnet18", 500, 16, 512),  # the protocol's 256 regions x 512
        ("resnet34", 64, 2, 512),
        ("resnet50", 65, 3, 2048),
        ("resnet101", 32, 1, 2048),
        ("tiny", 100, 7, 128),
    ],
)
def test_regions_row_by_row(name: str, size: int, side: int, dim: int) -> None:
    encoder = build_encoder(name, size, pretrained=False).eval()
    assert (encoder.grid, encoder.dim, encoder.size, encoder.name) == ((side, side), dim, size, name)
    batch = images(2, size)
    with torch.no_grad():
        regions = encoder(batch)
        assert regions.shape == (2, side * side, dim)
        assert regions.dtype == torch.float32
        features = encoder.backbone((batch - encoder.mean) / encoder.std)  # (B, D, H, W)
        torch.testing.assert_close(encoder(batch.float()), regions)
    row, column = side - 1, side // 2
    torch.testing.assert_close(regions[1, row * side + column], features[1, :, row, column])
    with pytest.raises(ValueError, match=rf"\(B, 3, {size}, {size}\), not \(2, 3, {size}, {size - 1}\)"):
        encoder(batch[..., 1:])


@pytest.mark.parametrize(
    ("name", "size", "total", "squares"),
    [
        ("efficientnet_lite0", 128, 10549.0946, 30852.9500),
        ("efficientnet_lite0", 75, 2520.9351, 5345.2201),
        ("efficientnet_lite0_s16", 128, 648.5531, 402710.6902),
        ("efficientnet_lite0_s16", 75, -1173.4989, 151216.1234),
    ],
)
def test_lite0_gives_the_features_of_its_weights_package(
    name: str, size: int, total: float, squares: float
) -> None:
    """The sums are those of the network that came with the weights, efficientnet-lite-pytorch 0.1.0."""
    places = torch.arange(2 * 3 * size * size).view(2, 3, size, size)
    with torch.no_grad():
        regions = build_encoder(name, size)((places * places // 7 + places * 31) % 256)
    assert regions.double().sum().item() == pytest.approx(total, rel=1e-4, abs=0.1)
    assert regions.double().square().sum().item() == pytest.approx(squares, rel=1e-4)


@pytest.mark.skipif(not UCM.is_dir(), reason="UCM-Captions is not there")
def test_lite0_tells_scenes_apart() -> None:
    """Nearest class mean over 6 classes, 6 images a class to learn, 4 to ask: chance is 1/6."""
    by_class: dict[str, list[Path]] = {}
    for entry in json.loads((UCM / "dataset.json").read_text())["images"]:
        by_class.setdefault(entry["class"], []).append(UCM / "images" / entry["filename"])
    encoder = build_encoder("efficientnet_lite0", 128)
    paths = [path for name in sorted(by_class)[::4] for path in by_class[name][:10]]
    with torch.no_grad():
        batch = torch.stack([preprocess(read_rgb(path), 128) for path in paths])
        means = nn.functional.normalize(encoder(batch).mean(1), dim=1).view(-1, 10, encoder.dim)  # (K, 10, D)
    similar = means[:, 6:] @ means[:, :6].mean(1).T  # (K, 4, K)
    right = similar.argmax(2) == torch.arange(len(means))[:, None]
    assert right.float().mean() > 0.8


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
def test_frozen_features_ignore_neighbours_even_after_train(name: str) -> None:
    """The course's script left its ResNet in training mode."""
    encoder = build_encoder(name, 64, pretrained=name != "resnet18").train()
    assert not encoder.trainable
    assert not any(module.training for module in encoder.modules())
    before = encoder.digest
    one, other = images(1, 64), images(3, 64, seed=1) // 8
    alone, among = encoder(one), encoder(torch.cat([one, other]))[:1]
    assert not alone.requires_grad
    torch.testing.assert_close(alone, among, rtol=1e-4, atol=1e-4)
    assert encoder.digest == before


def test_fine_tuning_moves_weights_but_no_pretrained_statistics() -> None:
    encoder = build_encoder("resnet18", 64, pretrained=False)
    encoder.fine_tune()
    encoder.train()
    statistics = {name: value.clone() for name, value in encoder.named_buffers()}
    encoder(images(2, 64)).sum().backward()
    assert encoder.trainable
    assert all(weight.grad is not None for weight in encoder.parameters())
    assert all(torch.equal(value, statistics[name]) for name, value in encoder.named_buffers())
    encoder.fine_tune(False)
    assert not encoder.train().trainable


def test_tiny_trains_its_batch_norms_until_it_is_frozen() -> None:
    torch.manual_seed(5)
    encoder = build_encoder("tiny", 32)
    torch.manual_seed(5)
    assert build_encoder("tiny", 32).digest == encoder.digest
    assert build_encoder("tiny", 32).digest != encoder.digest
    assert encoder.train().trainable
    before = encoder.digest
    encoder(images(4, 32))
    assert encoder.digest != before  # running statistics
    encoder.fine_tune(False)
    assert not any(module.training for module in encoder.train().modules())


def test_digest_is_that_of_the_weights() -> None:
    encoder = build_encoder("efficientnet_lite0", 224)
    again = build_encoder("efficientnet_lite0", 64)
    assert encoder.digest == again.to(memory_format=torch.contiguous_format).digest  # type: ignore[call-overload]
    assert encoder.digest != build_encoder("efficientnet_lite0_s16", 224).digest
    weight = next(again.parameters())
    weight.data[0, 0, 0, 0] += 1e-6
    assert encoder.digest != again.digest


def test_pretrained_encoders_leave_the_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    build_encoder("resnet18", 32, pretrained=False)
    build_encoder("efficientnet_lite0", 32)
    assert torch.equal(torch.rand(4), expected)


def test_weights_from_a_local_file(tmp_path: Path) -> None:
    reference = with_uneven_statistics(models.resnet18()).eval()
    torch.save(reference.state_dict(), tmp_path / "whole.pth")
    torch.save({k: v for k, v in reference.state_dict().items() if k[:3] != "fc."}, tmp_path / "headless.pth")
    parallel = {f"module.{name}": value for name, value in reference.state_dict().items()}
    torch.save(parallel, tmp_path / "parallel.pth")
    torch.save({"epoch": 90, "arch": "resnet18", "state_dict": parallel}, tmp_path / "checkpoint.pth.tar")
    torch.save({"model": reference.state_dict(), "optimizer": {"state": {}}}, tmp_path / "model.pth")
    lightning = {f"model.{name}": value for name, value in reference.state_dict().items()}
    torch.save({"state_dict": lightning, "global_step": 3}, tmp_path / "lightning.ckpt")
    batch = images(2, 64)
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        x = (batch / 255 - mean) / std
        for name, layer in reference.named_children():
            x = layer(x) if name not in {"avgpool", "fc"} else x
        for file in tmp_path.iterdir():
            regions = build_encoder("resnet18", 64, file)(batch)
            torch.testing.assert_close(regions, x.flatten(2).transpose(1, 2), rtol=1e-3, atol=1e-4)


def test_weights_that_are_none_are_named(tmp_path: Path) -> None:
    state = models.resnet18().state_dict()
    wide = {**state, "layer1.0.conv1.weight": torch.zeros(1, 2)}
    less = {name: value for name, value in state.items() if name not in {"bn1.bias", "conv1.weight"}}
    contents = {"wide": wide, "less": less, "list": [1, 2], "nested": {"layers": state}}
    for name, content in contents.items():
        torch.save(content, tmp_path / name)
    torch.save(models.resnet34().state_dict(), tmp_path / "resnet34")
    torch.save(Encoder("tiny", nn.Identity(), 32), tmp_path / "pickled")
    (tmp_path / "text").write_text("no weights at all")
    (tmp_path / "empty").touch()
    (tmp_path / "cut").write_bytes((tmp_path / "less").read_bytes()[:-1000])
    expected = {
        "wide": r"layer1.0.conv1.weight has shape \(1, 2\) instead of \(64, 64, 3, 3\)$",
        "less": r"do not fit the encoder resnet18: conv1.weight and 1 others are missing$",
        "resnet34": r"do not fit the encoder resnet18: layer1.2.conv1.weight and .* others are too many$",
        "list": "holds something other than a state dict",
        "nested": "holds something other than a state dict",
        "pickled": "is not a state dict saved by torch.save",
        "text": "is not a state dict saved by torch.save",
        "empty": "is not a state dict saved by torch.save",
        "cut": "is not a state dict saved by torch.save",
        "absent": "^there is no weights file",
        ".": "cannot be read: Is a directory",
    }
    for name, message in expected.items():
        with pytest.raises(EncoderError, match=message) as caught:
            build_encoder("resnet18", 64, tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_offline_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_args: object, **_options: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(torch.hub, "urlopen", no_network)
    with pytest.raises(EncoderError, match="Name or service not known") as caught:
        build_encoder("resnet18", 64)
    for hint in ("name a file that holds them", "resnet18-f37072fd.pth", "efficientnet_lite0"):
        assert hint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("resnet19", 64), "no encoder 'resnet19': choose one of efficientnet_lite0, "),
        (("tiny", 31), "31 pixels are too small .* at least 32"),
        (("tiny", 32, Path("some.pth")), "takes no weights: leave out some.pth"),
    ],
)
def test_impossible_encoders_are_named(arguments: tuple[str, int], message: str) -> None:
    with pytest.raises(EncoderError, match=message):
        build_encoder(*arguments)


def test_preprocessing_squeezes_the_whole_image_smoothly() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 40, 3), dtype=torch.uint8, generator=generator)
    image = Image.fromarray(pixels.numpy(), "RGB")
    assert torch.equal(preprocess(image, 40), pixels.permute(2, 0, 1))
    halves = Image.new("RGB", (400, 100), (255, 0, 0))
    halves.paste((0, 0, 255), (200, 0, 400, 100))
    small = preprocess(halves, 32)
    assert small[:, 16, 0].tolist() == [255, 0, 0]  # both borders are still there
    assert small[:, 16, -1].tolist() == [0, 0, 255]
    stripes = Image.fromarray((torch.arange(320 * 320) % 2 * 255).byte().view(320, 320).numpy()).convert(
        "RGB"
    )
    assert (
        preprocess(stripes, 32).float() - 127.5
    ).abs().max() < 10  # grey, where no antialiasing gives 0 or 255
    with pytest.raises(ValueError, match="RGB images, not L"):
        preprocess(image.convert("L"), 32)


@pytest.mark.parametrize(
    ("name", "size"), [("efficientnet_lite0", 64), ("efficientnet_lite0", 75), ("resnet50", 64), ("tiny", 64)]
)
def test_folding_changes_nothing(name: str, size: int) -> None:
    encoder = build_encoder(name, size, pretrained=name != "resnet50").eval()
    backbone = encoder.backbone if name == "efficientnet_lite0" else with_uneven_statistics(encoder.backbone)
    before = encoder.digest
    example = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1))
    folded = fold(backbone, example)
    with torch.no_grad():
        expected = backbone(example)
        assert expected.std() > 0.01
        torch.testing.assert_close(
            folded(example), expected, rtol=1e-4, atol=1e-4 * max(1, expected.max().item())
        )
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert all(type(module) is nn.Conv2d for module in folded.modules() if isinstance(module, nn.Conv2d))
    assert encoder.digest == before


def test_a_network_that_cannot_be_folded_stays_as_it_is() -> None:
    class Shared(nn.Module):
        """Uses a convolution's output beside its batch norm."""

        def __init__(self) -> None:
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, images: Tensor) -> Tensor:
            maps: Tensor = self.convolution(images)
            return maps + self.norm(maps)

    network = with_uneven_statistics(Shared()).eval()
    example = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(fold(network, example)(example), network(example))
