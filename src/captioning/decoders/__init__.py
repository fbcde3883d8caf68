"""The captioner's decoders (conf/decoder/)."""

from src.captioning.decoders.base import Decoder
from src.captioning.decoders.lstm import AttentionDecoder, LSTMDecoder
from src.captioning.decoders.transformer import TransformerDecoder

__all__ = ["AttentionDecoder", "Decoder", "LSTMDecoder", "TransformerDecoder"]
