"""`python -m src.demo`: the command. The page answers at once, the models are loaded behind it."""

from __future__ import annotations

import logging
import socket
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from src.config.settings import ACCELERATORS, setting
from src.entry_point import InvalidCommand, UserError, entry_point

OUTPUTS = Path("outputs")
logger = logging.getLogger("src.demo")


@dataclass
class DemoSettings:
    """Settings of `python -m src.demo`."""

    models: list[str] = setting(
        "checkpoints, runs' or sweeps' folders (none: the best of every sweep under outputs/)", default=[]
    )
    trust: list[str] = setting("packages whose classes the checkpoints may name", default=[])
    encoder_weights: str | None = setting(
        "file with a frozen encoder's weights (null: where they lay in training)", default=None
    )
    accelerator: str = setting(
        "where to compute; auto takes a GPU if there is one", default="auto", choices=ACCELERATORS
    )
    beam: int = setting("beams of the search beside the greedy one", default=5, at_least=2, at_most=50)
    host: str = setting(
        "address to listen at; 0.0.0.0: all, for everyone in the network", group="server", default="127.0.0.1"
    )
    port: int = setting("0: any free one", group="server", default=8000, at_least=0, at_most=65535)
    max_mib: int = setting("largest upload, MiB", group="server", default=10, at_least=1, at_most=1024)
    max_pixels: int = setting(
        "largest image, pixels", group="server", default=25_000_000, at_least=1, at_most=89_478_485
    )
    parallel: int = setting("requests computed at once", group="server", default=2, at_least=1, at_most=64)


@entry_point("demo", DemoSettings, positional="models")
def main(cfg: DictConfig) -> int:
    """Try trained models on a local page: labels, captions, attention, hidden parts, two models side by side.

    Ctrl-C ends it.
    """
    try:
        import uvicorn

        from src.demo.server import ModelLoader, build_app
    except ImportError as error:
        raise UserError(f"the demo needs the package {error.name}: pip install -e '.[demo]'") from error
    from src.run.trained import find_checkpoint

    errors, checkpoints = [], []
    for given in cfg.models or finished_sweeps(OUTPUTS):
        try:
            checkpoints.append(find_checkpoint(given))
        except UserError as error:
            if cfg.models:  # of those that were found, one may have lost its checkpoints
                errors.append(f"models: {error}")
    if errors:
        raise InvalidCommand(errors)
    if not checkpoints:
        raise UserError(
            f"no finished run under {OUTPUTS}/: train one with `make sweep EPOCHS=1` (garments) or "
            "`make caption` (drawn scenes), or name runs: models=[FOLDER,...]"
        )
    try:
        listening = socket.create_server(
            (cfg.host, cfg.port), family=socket.AF_INET6 if ":" in cfg.host else socket.AF_INET
        )
    except OSError as error:
        raise UserError(
            f"host={cfg.host} port={cfg.port}: {error.strerror or error}; port=0 takes any free port"
        ) from error
    loader = ModelLoader(checkpoints, cfg)
    server = uvicorn.Server(uvicorn.Config(build_app(loader, cfg), log_level="warning", lifespan="off"))
    loader.start(on_failure=lambda: setattr(server, "should_exit", True))
    host = f"[{cfg.host}]" if ":" in cfg.host else cfg.host
    logger.info("Demo: http://%s:%d/ (Ctrl-C ends it)", host, listening.getsockname()[1])
    server.run(sockets=[listening])
    loader.raise_failure()
    return 0


def finished_sweeps(outputs: Path) -> list[str]:
    """The folders of sweeps with a finished run, by name."""
    return sorted({str(path.parent.parent) for path in outputs.glob("*/*/results.json")})


if __name__ == "__main__":
    main()
