"""The captioner's decoders, by name."""

from __future__ import annotations

import pkgutil
from typing import Any

from torch import nn

from src.captioning.decoders.base import Decoder
from src.captioning.decoders.lstm import AttentionDecoder, LSTMDecoder
from src.captioning.decoders.transformer import TransformerDecoder

DECODERS = {"lstm": LSTMDecoder, "attention": AttentionDecoder, "transformer": TransformerDecoder}


def find_decoder(name: str) -> Any:
    """The class of a decoder, by its name in `DECODERS` or its dotted path.

    Raises:
        ValueError: there is no such nn.Module.
    """
    found: Any = DECODERS.get(name)
    try:
        found = found or pkgutil.resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"decoder={name}: choose one of {', '.join(DECODERS)} ({error})") from error
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"decoder={name} is no nn.Module")
    return found


def build_decoder(name: str, vocabulary_size: int, region_dim: int, **arguments: Any) -> Decoder:
    """A decoder with fresh weights, by its name or dotted path; the arguments are its own."""
    return find_decoder(name)(vocabulary_size, region_dim, **arguments)
