"""onnxruntime computes what torch computes, or says that it cannot."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from src.captioning.encoder import Encoder, build_encoder
from src.captioning.engines import ONNXRUNTIME, TORCH, UnsupportedEncoder, choose_engine, network_of
from tests.extras import needs_onnxruntime
from tests.test_encoder import LITE, TINY, images, timm, torchvision, with_uneven_statistics


@needs_onnxruntime
@pytest.mark.parametrize(
    ("config", "size"),
    [
        (LITE, 64),
        (LITE, 75),
        (torchvision("resnet18"), 64),
        (timm("convnext_atto"), 64),
        (timm("vit_tiny_patch16_224"), 224),
        (TINY, 64),
    ],
)
def test_onnxruntime_gives_the_regions_of_torch(config: dict[str, Any], size: int) -> None:
    encoder = build_encoder(config, size)
    if config is not LITE:
        with_uneven_statistics(encoder.backbone)
    before, cpu = encoder.digest, torch.device("cpu")
    assert choose_engine(cpu) == ONNXRUNTIME  # the extra is there
    networks = [network_of(encoder, cpu, engine) for engine in (TORCH, ONNXRUNTIME)]
    for image in images(2, size).split(1):
        expected, found = (network(image) for network in networks)
        assert expected.std() > 0.01
        torch.testing.assert_close(
            found, expected, rtol=1e-4, atol=1e-4 * max(1, float(expected.abs().max()))
        )
    assert encoder.digest == before


@needs_onnxruntime
def test_an_encoder_that_onnx_cannot_hold_is_named() -> None:
    class Solver(nn.Module):
        """Uses an operator that ONNX does not have."""

        def forward(self, images: Tensor) -> Tensor:
            return torch.linalg.matrix_exp(images[..., :4, :4])

    with pytest.raises(UnsupportedEncoder, match="onnxruntime cannot compute Solver"):
        network_of(Encoder(Solver(), 8), torch.device("cpu"), ONNXRUNTIME)
