"""The step by hand against autograd and torch.optim.SGD, in double precision."""

import pytest
import torch
import torch.nn.functional as F

from src.classification import sgd
from src.classification.network import ConvNet


@pytest.mark.parametrize(
    ("image_size", "dropout", "block"),
    [((1, 28, 28), 0.5, None), ((1, 28, 28), 0.0, 40_000), ((3, 13, 18), 0.8, None), ((1, 9, 8), 1.0, 1)],
)
def test_steps_by_hand_are_those_of_autograd(
    image_size: tuple[int, int, int], dropout: float, block: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if block is not None:
        monkeypatch.setattr(sgd, "BLOCK", block)
    torch.manual_seed(0)
    ours = ConvNet(dropout, image_size, classes=4).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    usual = ConvNet(dropout, image_size, classes=4).double().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    usual.load_state_dict(ours.state_dict())
    pixels, labels = torch.rand(11, *image_size, dtype=torch.float64), torch.arange(11) % 4
    lr, batch = 0.3, 4  # batches of 4, 4 and 3

    torch.manual_seed(1)
    losses = sgd.sgd_steps(ours, pixels, labels, batch, lr)
    drawn = torch.get_rng_state()

    torch.manual_seed(1)
    optimizer = torch.optim.SGD(usual.parameters(), lr=lr)
    expected = []
    for x, y in zip(pixels.split(batch), labels.split(batch), strict=True):
        loss = F.cross_entropy(usual(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        expected.append(loss.detach())
    torch.testing.assert_close(losses, torch.stack(expected), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.state_dict(), usual.state_dict(), rtol=1e-11, atol=1e-12)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(weight.grad is None for weight in ours.parameters())
