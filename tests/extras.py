"""Marks of tests that need an extra; in continuous integration all extras are there, and nothing is skipped."""

import os

import pytest

from src.captioning.engines import ONNXRUNTIME, available

needs_onnxruntime = pytest.mark.skipif(
    os.environ.get("CI") != "true" and not available(ONNXRUNTIME), reason="pip install -e '.[export]'"
)
