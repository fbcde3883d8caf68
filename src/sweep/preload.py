"""What the workers' server does once, before any run is forked from it: imports, and the code's version."""

import torch.utils.tensorboard  # noqa: F401

import src.classification.task
import src.fit  # noqa: F401
from src.provenance import CODE_OF_TASK, code_version, commit

# Both are remembered, and inherited by every run.
commit()
for task in CODE_OF_TASK:
    code_version(task)
