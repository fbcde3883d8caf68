"""Sections for the tests of the report's page: every kind of content, long words, hostile texts."""

from pathlib import Path

import numpy as np
from PIL import Image as PILImage

from src.figures import look, subplots, title
from src.findings import Comparison, Image, Picture, Section, Statement, Table
from src.report.sources import Sources
from src.report.topics import CAPTIONER, CLASSIFIER, THEORY, Topic

HOSTILE = '<script>alert("1")</script><img src=x onerror=alert(2)>&amp;\u202e"\''
LONG = "Donaudampfschifffahrtselektrizitaetenhauptbetriebswerkbauunterbeamtengesellschaft" * 2


def curves() -> Picture:
    """Two lines."""
    finding = "Validation accuracy rises to 0.91 at lr 0.01; at 0.001 it is still rising after 15 epochs"
    with look():
        figure, axes = subplots()
        epochs = np.arange(1, 16)
        axes[0, 0].plot(epochs, 0.91 - 0.1 * 0.7**epochs, marker="o", label="lr 0.01")
        axes[0, 0].plot(epochs, 0.86 - 0.3 * 0.85**epochs, marker="s", label="lr 0.001")
        axes[0, 0].set_xlabel("Epoch")
        axes[0, 0].set_ylabel("Validation accuracy (fraction correct)")
        axes[0, 0].legend()
        title(figure, finding)
    return Picture("curves", finding, "Two rising curves of validation accuracy over 15 epochs.", figure)


def maps(name: str = "maps", side: int = 64, seed: int = 1) -> Picture:
    """Noise in colour, which compresses badly, as photos do."""
    with look():
        figure, axes = subplots(2, 4, height=4.4)
        noise = np.random.default_rng(seed).random((8, side, side))
        for place, ax in enumerate(axes.flat):
            ax.imshow(noise[place], interpolation="nearest")
            ax.set_title(f"filter {place}")
            ax.axis("off")
    return Picture(name, "Each filter answers to another pattern", "Eight maps of colours.", figure)


def parameters(_: Sources) -> Section:
    layers = (
        ("conv 1", "24 x 24 x 8", "5 x 5", "608", "345,600", "5.9 %"),
        ("max-pool", "11 x 11 x 8", "4 x 4", "0", "0", "0.0 %"),
        ("linear", "10", "", "9,690", "9,680", "94.1 %"),
    )
    return Section(
        key="parameters",
        title="Counting parameters",
        asked="How many parameters has a small CNN, and how many a fully connected network on the same?",
        answer=(
            "The CNN has 10,298 parameters, the fully connected network 236,310: 22.9 times as many.",
            "Counted by formula and from the built module; both agree in every layer.",
        ),
        comparisons=(
            Comparison("parameters of the CNN", 10298, 10298),
            Comparison("parameters of the fully connected network", 24540, 236310, note="the slip below"),
            Comparison("increase in percent", 138.3, 2194.7, digits=1),
        ),
        statements=(Statement("formula and module agree", "0 layers differ", "0 layers", True),),
        tables=(
            Table(
                "Layers of the CNN",
                ("layer", "output", "kernel", "parameters", "multiply-adds", "share"),
                layers,
                "Biases are counted.",
            ),
        ),
        slip="The report prints 23,530 for the first dense layer. 100 x 2,352 + 100 = 235,300.",
        command="python -m src.theory parameters",
    )


def attention(_: Sources) -> Section:
    return Section(
        key="self-attention",
        title="Self-attention",
        asked="Do both heads give the same probabilities?",
        answer=("They do, up to rounding, for every invertible B that was tried.",),
        statements=(
            Statement("the largest difference between both heads", "3.3e-16", "at most 1e-12", True),
            Statement("a singular B breaks it", "0.0 (made up, to see a failure)", "above 1e-3", False),
        ),
        command="python -m src.theory attention",
    )


def sweep(_: Sources) -> Section:
    rows = tuple(
        (str(rank), f"0.{rank % 8 + 1}", "0.01", *(f"{0.9 + rank / 1000 + k / 100:.4f}" for k in range(9)))
        for rank in range(1, 13)
    )
    columns = (
        "rank",
        "dropout",
        "lr",
        "train loss",
        "val acc",
        "test acc",
        "test at best val",
        "report: rank",
    )
    return Section(
        key="sweep",
        title="The sweep over dropout and learning rate",
        asked="Which dropout and learning rate are best on validation?",
        answer=("Dropout 0.4 with lr 0.01, with a test accuracy of 0.9069.",),
        comparisons=(
            Comparison("best test accuracy", 0.9073, 0.9069),
            Comparison("best cell", "dropout 0.5, lr 0.01", "dropout 0.4, lr 0.01"),
            Comparison("validation accuracy, dropout 0.5, lr 0.01", 0.9132, 0.9105),
            Comparison("training loss, dropout 0.8, lr 0.1", 0.4494, 0.4341),
            Comparison("seeds", None, 3),
            Comparison("test accuracy with another seed", 0.9, None),
            *(Comparison(f"test accuracy of cell {k}", 0.9, 0.9) for k in range(3)),
        ),
        tables=(
            Table(
                "All cells beside the report's",
                (*columns, "train loss", "val acc", "test acc", "differs"),
                rows,
            ),
        ),
        pictures=(curves(),),
        command="make sweep\npython -m src.sweep.table2 outputs/fashion_mnist --seeds outputs/table2_seeds "
        "--and-a-very-long-option-that-does-not-break=outputs/" + "x" * 90,
    )


def filters(_: Sources) -> Section:
    return Section(
        key="filters",
        title=f"Filters, and a word: {LONG}",
        asked=f"What about {LONG}?",
        answer=(LONG, HOSTILE),
        tables=(Table(HOSTILE, ("file", "caption"), ((f"{LONG}.tif", HOSTILE), (HOSTILE, LONG)), HOSTILE),),
        pictures=(maps(),),
    )


def failing(_: Sources) -> Section:
    raise ZeroDivisionError(f"no filter answers to {HOSTILE}")


def captions(sources: Sources) -> Section:
    path = sources.data / "gallery.png"
    if not path.exists():
        ramp = np.linspace(0, 255, 300 * 900 * 3).reshape(300, 900, 3).astype(np.uint8)
        path.parent.mkdir(parents=True, exist_ok=True)
        PILImage.fromarray(ramp).save(path)
    broken = path.with_name("broken.png")
    broken.write_bytes(path.read_bytes()[:300])
    return Section(
        key="captions",
        title="The captioner without and with attention",
        asked="How good are the captions?",
        answer=("Attention is ahead by 0.016.",),
        comparisons=(Comparison("BLEU-4 with attention, on Sydney", 0.5142, None),),
        images=(
            Image("gallery", "Test images with their captions", HOSTILE, path),
            Image("broken", "A file that is cut off", "", broken),
        ),
        missing=("outputs/captions_sydney holds no runs: make caption-sydney ARGS='data.root=FOLDER'",),
        command="make caption",
    )


TOPICS = (
    Topic("parameters", "Counting parameters", THEORY, parameters),
    Topic("self_attention", "Self-attention", THEORY, attention),
    Topic("sweep", "The sweep", CLASSIFIER, sweep),
    Topic("filters", "Filters", CLASSIFIER, filters),
    Topic("deep_filters", "Filters of a deep network", CLASSIFIER, failing),
    Topic("captions", "The captioner", CAPTIONER, captions),
)


def sources_in(folder: Path) -> Sources:
    """Sources whose data lie in `folder`."""
    return Sources(sweep=folder / "sweep", captions=(), data=folder / "data")
