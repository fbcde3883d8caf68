"""What the workers' server does once, before any run is forked from it: imports, and the code's version."""

import torch.utils.tensorboard  # noqa: F401

import src.classification.task
import src.fit  # noqa: F401
from src.provenance import code_version, commit
from src.streams import guard_streams

guard_streams()
# Both are remembered, and inherited by every run.
commit()
code_version()
