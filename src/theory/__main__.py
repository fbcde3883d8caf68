"""`python -m src.theory`: the theory's statements as tables, its figures and findings as files."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Table

from src.build import build, complete, group_errors
from src.config.settings import setting
from src.entry_point import InvalidCommand, UserError, entry_point

if TYPE_CHECKING:
    from src.findings import Section
    from src.theory.parameters import Network

TOPICS = ("parameters", "attention", "equivariance")


@dataclass
class TheorySettings:
    """Settings of `python -m src.theory`."""

    only: list[str] = setting("topics ([]: all)", default=[], choices=TOPICS)
    network: dict[str, Any] = field(
        default_factory=dict, metadata={"help": "to count: NAME, or network._target_"}
    )
    input: list[int] = setting(
        "its input's shape: channels, height, width", default=[3, 224, 224], at_least=1
    )
    run: str | None = setting("run, sweep or checkpoint, to count its network", group="what", default=None)
    cases: int = setting("heads of random sizes", group="how", default=200, at_least=1, at_most=100_000)
    seed: int = setting("of what is drawn at random", group="how", default=42, at_least=0, at_most=2**32 - 1)
    out: str = setting("folder for figures and findings.json", group="output", default="outputs/theory")
    trust: list[str] = setting("packages whose classes the checkpoint may name", default=[])


@entry_point("theory", TheorySettings, positional="only")
def main(cfg: DictConfig) -> int:
    """Compute the report's theory and put it to the test; exit status 1 where a statement does not hold.

    python -m src.theory attention
    python -m src.theory network=resnet_small input=[1,28,28]
    python -m src.theory network._target_=torchvision.models.resnet18
    python -m src.theory run=outputs/fashion_mnist
    """
    errors = group_errors(cfg, "network")
    if sum(map(bool, (cfg.run, cfg.network, cfg.only))) > 1:
        errors.append("run, network and topics: one of them in a command")
    if len(cfg.input) != 3:
        errors.append(f"input={cfg.input}: must be channels, height and width, such as [3,224,224]")
    if errors:
        raise InvalidCommand(errors)
    sections = _sections(cfg)
    _show(sections)
    _write(sections, Path(cfg.out))
    return int(not all(statement.holds for section in sections for statement in section.statements))


def _sections(cfg: DictConfig) -> list[Section]:
    from src.theory.attention import attention_findings
    from src.theory.equivariance_findings import equivariance_findings
    from src.theory.parameters import parameter_findings

    if cfg.run or cfg.network:
        return [parameter_findings([_of_run(cfg.run, cfg.trust) if cfg.run else _of_config(cfg)])]
    findings = {
        "parameters": parameter_findings,
        "attention": lambda: attention_findings(cfg.seed, cfg.cases),
        "equivariance": lambda: equivariance_findings(seed=cfg.seed),
    }
    return [findings[topic]() for topic in cfg.only or TOPICS]


def _of_config(cfg: DictConfig) -> Network:
    import torch

    from src.theory.parameters import count_network

    shape = list(cfg.input)
    offered = {"image_size": shape, "in_channels": shape[0], "classes": 10, "num_classes": 10, "dropout": 0.0}
    network, name = complete(cfg.network, **offered), cfg.network._target_
    try:
        built = build(network).eval()
        with torch.no_grad():
            built(torch.zeros(1, *shape))  # gives lazy layers their weights
        return count_network(name, built, shape)
    except UserError:
        raise
    except Exception as error:  # whatever a stranger's forward raises
        raise UserError(f"{name}, input={shape}: {type(error).__name__}: {error}") from error


def _of_run(path: str, trust: Sequence[str]) -> Network:
    """A checkpoint's classifier, or its caption decoder."""
    from src.captioning.encoder import POSITION_DIM
    from src.run.trained import load_trained
    from src.theory.parameters import count_decoder, count_network

    module: Any = load_trained(path, trust).module
    if "network" in module.hparams:
        return count_network(path, module.network, module.hparams["image_size"])
    encoder = module.hparams["encoder"]
    regions = 1 if getattr(module.decoder, "mean_only", False) else math.prod(encoder["grid"])
    return count_decoder(path, module.decoder, regions, encoder["dim"] + POSITION_DIM * encoder["position"])


def _show(sections: Sequence[Section]) -> None:
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else 150)
    for section in sections:
        rows = [(s.what, s.measured, s.expected, "yes" if s.holds else "NO") for s in section.statements]
        statements = (section.title, ("statement", "measured", "expected", "holds"), rows, section.slip)
        tables = [(table.title, table.columns, table.rows, table.note) for table in section.tables]
        for title, columns, cells, note in [*tables, statements]:
            shown = Table(*columns, title=title, caption=note, title_justify="left")
            for row in cells:
                shown.add_row(*row)
            console.print(shown)


def _write(sections: Sequence[Section], out: Path) -> None:
    from src import figures
    from src.files import write_atomically

    findings = {}
    for section in sections:
        for picture in section.pictures:
            figures.save(picture.figure, out / picture.name)
        found: tuple[Any, ...] = (*section.statements, *section.comparisons, *section.tables)
        findings[section.key] = [asdict(item) for item in found]
    write_atomically(out / "findings.json", json.dumps(findings, indent=1))
    print(f"Figures and findings.json are in {out}.")


if __name__ == "__main__":
    main()
