"""Let torchvision be imported beside a torch that its compiled operators were not built for.

The package index's torchvision is built for the CUDA torch. Beside a CPU-only torch its C++ library
does not load, and `import torchvision` then fails with "operator torchvision::nms does not exist",
because it registers shape functions for two operators that nobody defined. Lightning and torchmetrics
import torchvision, so both fail too. Nothing here calls these two operators: declaring their schemas
is enough. Where torchvision's own library loads, nothing is done.

The mending waits for the first import of torchvision, so that `--help` need not import torch.
"""

import importlib.util
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

_SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_library = None  # torch drops the definitions of a Library that is garbage-collected


class _FirstImport(MetaPathFinder):
    """Mends once, right before torchvision is imported, then steps out of the way."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == "torchvision":
            sys.meta_path.remove(self)
            spec = importlib.util.find_spec("torchvision")
            if spec is not None and spec.origin is not None and not _loads(Path(spec.origin).parent):
                _declare()
        return None


def mend_on_first_import() -> None:
    """Arrange for the mending, once per process."""
    installed = any(isinstance(finder, _FirstImport) for finder in sys.meta_path)
    if "torchvision" not in sys.modules and not installed:
        sys.meta_path.insert(0, _FirstImport())


def _loads(package: Path) -> bool:
    """Whether torchvision's compiled operators load in this process."""
    import torch

    for library in [*package.glob("_C.*"), *package.glob("_C.*.dll")]:
        try:
            torch.ops.load_library(library)
        except (OSError, ImportError):
            continue
        return True
    return False


def _declare() -> None:
    """Declare the schemas of the two operators that torchvision registers shape functions for."""
    global _library
    import torch

    _library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        _library.define(name + _SCHEMA)
