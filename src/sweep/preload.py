"""What the workers' server does once, before any run is forked from it: imports, and the code's provenance."""

import torch.utils.tensorboard  # noqa: F401

import src.classification.task
import src.run.fit  # noqa: F401
from src.run.environment import provenance

provenance()  # remembered, and inherited by every run
