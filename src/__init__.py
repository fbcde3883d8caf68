"""Deep-learning course report as software: Fashion-MNIST sweep, image captioner, theory.

Run from the repository's root: `python -m src.train --help`.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _TorchvisionOperators(MetaPathFinder):
    """Declares two operators when torchvision is imported first, so that it can be imported beside any torch.

    The package index's torchvision is built for the CUDA torch. Beside a CPU-only torch its C++ library does not
    load, and `import torchvision`, which Lightning and torchmetrics do, too, fails with "operator torchvision::nms
    does not exist". Nothing here calls the operators: their schemas are enough. Where the library loads, nothing is
    done; and `--help` need not import torch.
    """

    library: object = None  # torch drops the definitions of a Library that is garbage-collected

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != "torchvision":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec("torchvision")
        if spec is not None and spec.submodule_search_locations:
            import torch

            try:
                (folder,) = spec.submodule_search_locations
                torch.ops.load_library(f"{folder}/_C.so")
            except OSError:
                _TorchvisionOperators.library = library = torch.library.Library("torchvision", "DEF")
                for name in ("nms", "qnms"):
                    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return None


if "torchvision" not in sys.modules:
    sys.meta_path.insert(0, _TorchvisionOperators())
