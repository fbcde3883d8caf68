"""What the best run's classifier answers to most: synthetic inputs of its filters and its classes."""

from __future__ import annotations

from src.findings import Picture, Section, Statement, Table
from src.report.sources import Missing, Sources

KEY, TITLE = "synthetic-inputs", "Inputs made to excite the classifier"
ASKED = (
    "What do the filters of both convolutions, and the ten classes, answer to most? For each the input that "
    "raises it highest is sought by gradient ascent, and compared with real images."
)
COMMAND = "make sweep\nmake report"
REAL = 1000  # of the test images, the first


def section(sources: Sources) -> Section:
    """Filters and classes of the best run."""
    try:
        network = sources.classifier().network.eval().requires_grad_(False)
        pixels, labels = sources.fashion_mnist("test")
    except Missing as error:
        return Section(KEY, TITLE, ASKED, command=COMMAND, missing=(str(error),))
    from src.classification.data import FASHION_MNIST_CLASSES
    from src.filters import classifier_inputs as inputs

    images, labels = pixels[:REAL].float() / 256, labels[:REAL]
    filters = {layer: inputs.filter_inputs(network, layer, images, sources.seed) for layer in inputs.LAYERS}
    classes = inputs.class_inputs(network, images, labels, sources.seed)
    names = FASHION_MNIST_CLASSES
    short = float((inputs.exact_optimum(network) - filters["conv1"].found.reached).abs().max())
    above = {layer: found.above for layer, found in filters.items()}
    ratio = float((classes.leashed.reached / classes.real).median())
    own, count = int(classes.own.sum()), len(names)
    odd = [
        f"{names[place]} (most like the mean {names[int(classes.likeness[place].argmax())]})"
        for place in range(count)
        if not classes.own[place]
    ]
    likeness = float(classes.likeness.diagonal().mean())
    sure = int((classes.probability > 0.99).sum())
    lower = int((classes.leashed.reached < classes.real).sum())
    reach, total = sum(above.values()), sum(len(found.real) for found in filters.values())
    first = (
        f"{reach} of {total} synthetic inputs excite their filter at least as much as the best of "
        f"{len(images):,} real images"
    )
    second = (
        f"{own} of {count} inputs made for a class are most like the mean image of that class, at a mean "
        f"correlation of {likeness:.2f}"
    )
    answer = (
        f"Each filter's middle unit is raised: {above['conv1']} of 16 filters of the first and "
        f"{above['conv2']} of 32 of the second convolution reach at least what the best of the first "
        f"{len(images):,} test images does. Of the first convolution the best input is known, white where "
        "the "
        f"kernel is positive and black elsewhere: the ascent comes within {short:.1g} of what that gives.",
        "A class's score is raised twice, with the valid range as the only bound, and with total variation "
        "and "
        f"jitter as well. Even so the score comes to {ratio:.1f} times (median) that of the best real image, "
        + (f"below it for {lower} of {count} classes" if lower else "above it for every class")
        + f", and the network gives {sure} of {count} of these inputs their class with more than 99 % "
        "probability.",
        f"{second}. "
        + (f"Not so: {'; '.join(odd)}. " if odd else "")
        + "A correlation of 1 would be the mean image itself. "
        + (
            "So what the network takes for a class is not the garment but some of its traits, and a high "
            "score "
            "is no sign that an image shows a garment."
            if likeness < 0.7 and ratio > 1
            else ""
        ),
    )
    statement = Statement(
        "the first convolution's best inputs against the exact optimum, bias plus the sum of positive "
        "weights",
        f"within {short:.1g} of it",
        "within 0.001",
        short <= 1e-3,
    )
    rows = tuple(
        (
            name,
            f"{float(classes.free.reached[k]):.1f}",
            f"{float(classes.leashed.reached[k]):.1f}",
            f"{float(classes.real[k]):.1f}",
            f"{float(classes.probability[k]):.4f}",
            f"{float(classes.likeness[k, k]):.2f}",
        )
        for k, name in enumerate(names)
    )
    columns = (
        "class",
        "score, clipped only",
        "score, smoothed and shifted",
        "score, best real image",
        "probability (smoothed)",
        "correlation with its mean image",
    )
    return Section(
        KEY,
        TITLE,
        ASKED,
        answer,
        statements=(statement,),
        tables=(Table("Class scores that synthetic inputs reach", columns, rows),),
        pictures=(
            Picture(
                "synthetic-inputs-filters",
                first,
                "For each of the 16 filters of the first and the 32 of the second convolution, the patch of "
                "3 x 3 or 8 x 8 pixels that excites its middle unit most, with the activation it reaches and "
                "that of the best real image.",
                inputs.filters_figure(filters, first),
            ),
            Picture(
                "synthetic-inputs-classes",
                second,
                "For each of the ten classes three images: the input of highest score within the valid "
                "range, "
                "the one with total variation and jitter as well, and the real test image of highest score.",
                inputs.classes_figure(classes, names, second),
            ),
        ),
        command=COMMAND,
    )
