"""Memory that runs out ends a run with a sentence, or halves the parts of a batch and keeps its numbers."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from src.captioning.data import PairBatch
from src.captioning.parts import compute_in_parts
from src.classification.module import Classifier
from src.classification.network import ConvNet
from src.classification.parts import compute_in_parts as compute_classifier_in_parts
from src.config import mistakes_in
from src.job import record_death, run_job
from src.memory import shortage
from src.plan import Plan
from src.population.launcher import grouped, run_all
from src.population.training import Population
from tests.command_line import ROOT, plan
from tests.made_up_captions import write_captioned
from tests.made_up_data import write_data_set
from tests.test_captioner import TINY, batch_and_module, give_trainer

pytestmark = pytest.mark.usefixtures("one_thread")

# In double precision: other random numbers could not hide in rounding.
SMALL = (
    *("epochs=2", "limit_train=28", "limit_val=20", "limit_test=20", "threads=1", "progress=false"),
    *("dropout=0.5", "precision=64-true"),
)
CUDA = "CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has a total capacity of 8.00 GiB"
CPU = (
    "[enforce fail at alloc_cpu.cpp:128] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 4000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.fixture
def small(on_idx: tuple[str, ...], tmp_path: Path) -> tuple[str, ...]:
    return (*on_idx, *SMALL, f"output_dir={tmp_path / 'out'}")


def train(*overrides: str) -> tuple[dict[str, Any], list[str], Plan]:
    """What results.json holds of a run in this process, what was said, and the plan."""
    asked = plan(*overrides)
    said: list[str] = []
    run_job(asked.cfg, asked.run, said.append, show_bar=False)
    return json.loads(asked.run.results_file.read_text()), said, asked


def alike(ours: dict[str, Any], expected: dict[str, Any]) -> None:
    """Assert the same figures, but for the last digit of what Lightning keeps in single precision."""
    for name in ("train_loss", "train_loss_epoch", "val_loss", "test_loss"):
        assert ours[name] == pytest.approx(expected[name], rel=1e-6), name
    for name in ("val_acc", "test_acc", "test_acc_best_val", "best_epoch"):
        assert ours[name] == expected[name], name


def too_large(most: int, error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network whose training steps fit into memory up to `most` images."""
    usual = ConvNet.forward

    def forward(self: ConvNet, images: Tensor) -> Tensor:
        if self.training and len(images) > most:
            raise error
        return usual(self, images)

    monkeypatch.setattr(ConvNet, "forward", forward)


def test_allocators_are_recognized_by_their_words() -> None:
    assert shortage(torch.OutOfMemoryError(CUDA)) == CUDA
    assert (shortage(RuntimeError(CPU)) or "").startswith("DefaultCPUAllocator: can't allocate memory: you")
    assert shortage(MemoryError()) == "MemoryError"
    for words in ("MPS backend out of memory (used 9 GB)", "std::bad_alloc", "x: CUBLAS_STATUS_ALLOC_FAILED"):
        assert shortage(RuntimeError(words)) == words
    assert len(shortage(torch.OutOfMemoryError(CUDA * 9)) or "") == 160
    for other in (RuntimeError("shapes differ"), ValueError("out of memory"), OSError(12, "x")):
        assert shortage(other) is None


@pytest.mark.parametrize("rule", [("optimizer=sgd", "lr=0.05"), ("optimizer=adam", "lr=0.001")])
def test_a_classifiers_batch_in_parts_gives_the_numbers_of_the_whole(
    rule: tuple[str, ...], small: tuple[str, ...]
) -> None:
    whole, _, asked = train(*small, *rule, "name=whole")
    parted, said, other = train(*small, *rule, "name=parts", "batch_parts=3")
    alike(parted, whole)  # batches of 8 in parts of 3, 3 and 2; the last one of 4 in 3 and 1
    assert (parted["batch_parts"], said) == (3, [])
    assert "batch_parts" not in whole
    assert other.run.identity == asked.run.identity


def test_a_batch_in_parts_has_the_whole_batchs_gradients() -> None:
    torch.manual_seed(0)
    module = Classifier(dropout=0.0, lr=0.1, batch_size=4)
    module.train()
    images = torch.rand(4, 1, 28, 28)
    module.network(images).square().sum().backward()
    expected = [weight.grad for weight in module.parameters()]
    module.zero_grad()
    compute_classifier_in_parts(module, 2)
    module.network(images).square().sum().backward()
    torch.testing.assert_close([weight.grad for weight in module.parameters()], expected)


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_captioned(tmp_path_factory.mktemp("squares"))


@pytest.mark.parametrize(
    "settings",
    [
        ("attention=false",),
        ("attention=true", "attention_penalty=1.0", "label_smoothing=0.1"),
        ("attention=true", "decoder.gate=true", "decoder.deep_output=true"),
        ("attention=true", "encoder.fine_tune=true"),
    ],
)
def test_a_captioners_batch_in_parts_has_the_gradients_of_the_whole(
    settings: tuple[str, ...], squares: Path, tmp_path: Path
) -> None:
    (seen, tokens), module = batch_and_module(
        *(*TINY, f"data.root={squares}", f"encoder.cache={tmp_path}", "encoder.name=efficientnet_lite0"),
        *("dropout=0.5", *settings),
    )
    give_trainer(module)
    module.decoder.double()
    module.train()
    found = []
    for parts in (1, 3):
        if parts > 1:
            compute_in_parts(module, parts, len(tokens))
        torch.manual_seed(1)
        module.zero_grad()
        loss = module.training_step(PairBatch(seen, tokens), 0)
        loss.backward()
        weights = [module.decoder.output.weight, module.decoder.embedding.weight]
        weights += [] if module.encoder is None else [next(module.encoder.parameters())]
        found.append((loss.detach(), [weight.grad for weight in weights], torch.rand(1)))
    tolerance = 1e-9 if module.encoder is None else 1e-4  # which stays in single precision
    torch.testing.assert_close(found[0], found[1], rtol=tolerance, atol=tolerance)


def test_what_looks_at_the_whole_batch_is_not_parted(squares: Path) -> None:
    asked = (*TINY, f"data.root={squares}", "batch_parts=2")
    expected = {
        (*asked,): "2: must be 1 with encoder.name=tiny, whose batch norms look at the whole batch",
        (*asked, "encoder.name=resnet18", "sampling=0.2"): (
            "2: must be 1 with sampling=0.2, which draws for the whole batch"
        ),
        ("batch_parts=9",): "9: must be at most batch_size=8",
    }
    for overrides, mistake in expected.items():
        assert mistakes_in(plan(*overrides).cfg) == [f"batch_parts={mistake}"]


def test_memory_that_runs_out_is_said_with_the_batch_size_to_try(
    small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    too_large(3, torch.OutOfMemoryError(CUDA), monkeypatch)
    results, _, asked = train(*small)
    assert results["status"] == "failed"
    assert results["cause"] == (
        f"memory ran out at batch_size=8 ({CUDA}): try batch_size=4, or on_memory=halve, which computes a "
        "batch in parts and keeps its numbers"
    )
    assert asked.run.failure_file.exists()
    too_large(0, MemoryError(), monkeypatch)
    results, said, _ = train(*small, "on_memory=halve")
    assert results["status"] == "failed"
    assert results["cause"] == "memory ran out at batch_size=8 in 8 parts (MemoryError): try batch_size=4"
    assert len(said) == 3


def test_parts_are_halved_until_they_fit_and_the_numbers_stay(
    small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _, _ = train(*small, "name=whole")
    too_large(3, RuntimeError(CPU), monkeypatch)
    results, said, asked = train(*small, "on_memory=halve")
    assert results["status"] == "done"
    alike(results, whole)
    assert results["batch_parts"] == 4
    assert said == [
        f"{asked.run.name}: memory ran out; going on with batches in {parts} parts, the same numbers"
        for parts in (2, 4)
    ]
    # An interrupted run goes on with as many parts, without running out again.
    asked.run.results_file.unlink()
    again, said, _ = train(*small, "on_memory=halve")
    assert (said, again["batch_parts"]) == ([], 4)


def test_memory_that_runs_out_elsewhere_does_not_blame_the_batch(
    small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def evaluate(*_: Any) -> None:
        raise RuntimeError(CPU)

    monkeypatch.setattr("src.classification.module.Classifier.validation_step", evaluate)
    results, said, _ = train(*small, "on_memory=halve")
    assert (results["status"], said) == ("failed", [])
    assert results["cause"].startswith("memory ran out in validation (DefaultCPUAllocator: can't")
    assert results["cause"].endswith("count: free memory, or run fewer at once (workers=1)")


def test_a_population_is_divided_until_it_fits_and_the_numbers_stay(
    small: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(name: str, *more: str) -> list[Plan]:
        return [plan(*small, f"name={name}", f"lr={lr}", *more) for lr in ("0.01", "1e80", "0.05")]

    monkeypatch.setattr("src.classification.data.CHUNK_IMAGES", 8)  # losses are counted at every step
    whole = run_all(asked("whole"))
    usual, steps = Population.step, iter(range(10**6))

    def too_many(self: Population, *arguments: Any) -> Tensor:
        if len(self) > 1 and next(steps) >= 3:
            raise torch.OutOfMemoryError(CUDA)
        return usual(self, *arguments)

    monkeypatch.setattr(Population, "step", too_many)
    parted = run_all(asked("parts", "on_memory=halve"))
    assert [each["status"] for each in parted] == ["done", "diverged", "done"]
    for ours, expected in zip(parted, whole, strict=True):
        if ours["status"] == "done":
            alike(ours, expected)


def test_a_population_has_no_parts_of_batches(small: tuple[str, ...]) -> None:
    groups, alone, remarks = grouped([plan(*small, "batch_parts=2", f"lr={lr}") for lr in (0.1, 0.2)])
    assert (groups, len(alone)) == ([], 2)
    assert remarks == ["2 runs cannot be stacked: batch_parts=2 (a population needs 1); run apart"]


def test_a_worker_that_the_kernel_killed_says_what_to_try(small: tuple[str, ...]) -> None:
    asked = plan(*small)
    asked.run.lock_file.parent.mkdir(parents=True)
    assert record_death(asked.cfg, asked.run, -9)["cause"] == (
        "its process was ended by SIGKILL, as it is when the machine's memory runs out: try fewer workers "
        "(workers=1), or batch_size=4"
    )
    assert record_death(asked.cfg, asked.run, -11)["cause"] == "its process was ended by SIGSEGV"


LIMITED = """
import resource, sys
from tests.command_line import plan
from src.job import run_job
import src.fit, src.classification.task, tensorboard.summary
limit = int(sys.argv[1]) * 2**20
with open("/proc/self/statm") as file:
    limit += int(file.read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for more in ("on_memory=fail", "on_memory=halve"):
    asked = plan(*sys.argv[2:], more)
    results = run_job(asked.cfg, asked.run, print, show_bar=False)
    print(results["status"], results["cause"], results.get("batch_parts"))
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux")
def test_a_real_limit_of_memory(tmp_path: Path) -> None:
    data = write_data_set(tmp_path / "data", train=2100, test=20)
    asked = ("data=idx", f"data.root={data}", "data.val_size=100", "accelerator=cpu", "threads=1", "epochs=1")
    large = ("batch_size=2000", f"output_dir={tmp_path / 'out'}")
    command = [sys.executable, "-c", LIMITED, "350", *asked, *large]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=200)
    lines = ended.stdout.strip().splitlines()
    assert len(lines) > 2, ended.stderr
    assert lines[0].startswith(
        "failed memory ran out at batch_size=2000 (DefaultCPUAllocator: can't allocate"
    )
    assert lines[1].endswith("memory ran out; going on with batches in 2 parts, the same numbers")
    assert lines[-1].startswith("done None")
