"""What the workers' server imports once, before any run is forked from it. It computes nothing."""

import src.classification.task
import src.fit  # noqa: F401
