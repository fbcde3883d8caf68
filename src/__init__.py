"""Deep-learning course report as software: Fashion-MNIST sweep, image captioner, theory.

Run from the repository's root: `python -m src.train --help`.
"""

from src import torchvision_ops

torchvision_ops.mend_on_first_import()
