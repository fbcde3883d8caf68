"""A population takes the steps of runs that train apart."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from src.classification import augment
from src.classification.network import ConvNet
from src.population.files import stack_of
from src.population.streams import drawn_at_once
from src.population.training import Knobs, Population
from src.seeds import epoch_order, epoch_seed
from tests.protocol_network import ProtocolNetwork

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
BATCH, CHUNK, IMAGES = 8, 40, 100  # 13 batches an epoch, the last of 4 images; chunks of 5, 5 and 3 batches
# With the largest layer's step within the backward pass, and without; seeds shared and not.
PLAIN = (Knobs(0.0, 0.1, 1), Knobs(0.5, 0.05, 1), Knobs(0.2, 0.01, 2), Knobs(0.0, 0.2, 3))
MIXED = (
    Knobs(0.0, 0.1, 1),
    Knobs(0.4, 0.05, 1, 0.1),
    Knobs(0.0, 0.02, 2, 0.0, 0.9),
    Knobs(0.1, 0.01, 2, 0.2, 0.5),
)


@pytest.fixture(scope="module")
def pictures() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (IMAGES, 1, 28, 28), dtype=torch.uint8, generator=generator)
    return images, torch.arange(IMAGES) % 10


def population_of(knobs: Sequence[Knobs], dtype: torch.dtype = torch.float64) -> Population:
    networks = []
    for knob in knobs:
        torch.manual_seed(knob.seed)
        networks.append(dict(ConvNet(knob.dropout).to(dtype).named_parameters()))
    weights = {name: weight.detach().requires_grad_() for name, weight in stack_of(networks, CPU).items()}
    return Population(knobs, weights)


def losses_of(population: Population, pictures: tuple[Tensor, Tensor], how: str = "none") -> Tensor:
    """Every step's loss (P, steps) over two epochs."""
    chunks = [
        torch.tensor(losses, dtype=torch.float64)
        for epoch in range(2)
        for losses in population.train_epoch(
            *pictures, epoch=epoch, batch=BATCH, chunk=CHUNK, augmentation=how
        )
    ]
    return torch.cat(chunks, 1)


def train_apart(knob: Knobs, pictures: tuple[Tensor, Tensor], how: str) -> tuple[Tensor, list[Tensor]]:
    """The protocol in plain PyTorch: nothing of ours but the seeds' definition and the augmentations."""
    images, labels = pictures
    torch.manual_seed(knob.seed)
    network = ProtocolNetwork(knob.dropout).double()
    optimizer = torch.optim.SGD(
        network.parameters(), lr=knob.lr, momentum=knob.momentum, weight_decay=knob.weight_decay
    )
    losses = []
    for epoch in range(2):
        torch.manual_seed(epoch_seed(knob.seed, epoch, "dropout"))
        for indices in epoch_order(IMAGES, knob.seed, epoch).split(CHUNK):
            x = augment.BY_NAME[how](images[indices]).double() / 256
            for pixels, wanted in zip(x.split(BATCH), labels[indices].split(BATCH), strict=True):
                loss = F.nll_loss(network(pixels), wanted)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.detach())
    return torch.stack(losses), [weight.detach() for weight in network.parameters()]


@pytest.mark.parametrize(("knobs", "how"), [(PLAIN, "none"), (MIXED, "flip_crop")], ids=["plain", "mixed"])
def test_every_step_is_that_of_a_separate_run(
    knobs: Sequence[Knobs], how: str, pictures: tuple[Tensor, Tensor]
) -> None:
    population = population_of(knobs)
    losses = losses_of(population, pictures, how)
    assert losses.shape == (len(knobs), 26)
    for member, knob in enumerate(knobs):
        expected, weights = train_apart(knob, pictures, how)
        torch.testing.assert_close(losses[member], expected, rtol=1e-9, atol=0)
        for stack, weight in zip(population.weights.values(), weights, strict=True):
            torch.testing.assert_close(stack[member].detach(), weight, rtol=1e-8, atol=1e-12)


def test_who_else_is_there_changes_nothing_also_where_somebody_diverges(
    pictures: tuple[Tensor, Tensor],
) -> None:
    company = losses_of(population_of([PLAIN[1], Knobs(0.3, 1e9, 5), PLAIN[2]]), pictures)
    without = losses_of(population_of([PLAIN[2], PLAIN[1]]), pictures)
    assert not company[1].isfinite().all()
    torch.testing.assert_close(company[[2, 0]], without, rtol=1e-9, atol=0)


def test_masks_drawn_at_once_drop_each_members_share_and_keep_the_mean() -> None:
    torch.manual_seed(0)
    noise = drawn_at_once(torch.empty(1, 400, 600), [0.1, 0.5, 0.8])
    for part, dropout in zip(noise, (0.1, 0.5, 0.8), strict=True):
        # 240,000 draws: the share of zeros strays by 0.001, the mean by at most 0.004
        assert (part == 0).double().mean().item() == pytest.approx(dropout, abs=0.005)
        assert part.double().mean().item() == pytest.approx(1, abs=0.02)
        assert part.max().item() == pytest.approx(1 / (1 - dropout))


def test_evaluation_is_the_networks(pictures: tuple[Tensor, Tensor]) -> None:
    images, labels = pictures
    population = population_of(PLAIN)
    loss, accuracy = population.evaluate(images, labels)
    for member, knob in enumerate(PLAIN):
        torch.manual_seed(knob.seed)
        with torch.no_grad():
            out = ConvNet(knob.dropout).double().eval()(images.double() / 256)
        assert loss[member] == pytest.approx(F.cross_entropy(out, labels).item(), rel=1e-9)
        assert accuracy[member] == (out.argmax(1) == labels).double().mean().item()
