"""The benchmarks' small forms give what their tables need; nothing here looks at a time."""

import json
import math
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from src.bench import encoding, floor, memory, overheads, precision, profiles
from src.bench.flame import boxes, flame_title, frames_of, short, trunk_removed
from src.bench.growth import SUBJECTS, Curve, growth_table, measure_growth, point, slope, verdict
from src.bench.growth_figure import growth_figure
from src.bench.growth_work import WORK
from src.bench.rounds import by_turns, middle_and_range, times_faster
from src.classification.network import ConvNet

SIZES = [2**n for n in range(11)]


@given(st.floats(-1, 3), st.floats(1e-6, 1e3))
def test_slope_is_the_exponent_of_a_power(exponent: float, factor: float) -> None:
    found = slope(SIZES, [factor * size**exponent for size in SIZES])
    assert found == pytest.approx(exponent, abs=1e-9)


def test_slope_looks_at_the_large_end_only() -> None:
    assert slope(SIZES, [1000.0 + size for size in SIZES]) < 0.5  # type: ignore[operator]
    bent = [1.0 if size <= 128 else (size / 128) ** 2 for size in SIZES]
    assert slope(SIZES, bent) == pytest.approx(2)
    assert slope([5], [1.0]) is None
    with pytest.raises(ValueError, match="above 0"):
        slope([1, 2], [0.0, 1.0])


@pytest.mark.parametrize(("exponent", "worse"), [(1.0, []), (1.05, []), (1.2, ["time"]), (2.0, ["time"])])
def test_curve_worse_than_linear_is_named(exponent: float, worse: list[str]) -> None:
    curve = Curve(SUBJECTS[0], SIZES, [0.01 * size**exponent for size in SIZES], [1.0] * len(SIZES))
    assert curve.worse_than_linear == worse
    assert curve.memory_slope is None  # a megabyte is noise
    assert ("runs (time)" in verdict([curve])) == bool(worse)
    assert "None" in verdict([curve]) or worse
    figure = growth_figure([curve])
    assert " ".join(figure.get_suptitle().split()) == verdict([curve])


def test_every_subject_has_work_that_runs() -> None:
    assert {subject.key for subject in SUBJECTS} == set(WORK)
    sizes = {"runs": 2, "batch": 2, "captioned": 4, "scored": 3, "length-decoding": 3}
    for key in ("batch", "captioned", "scored", "length-decoding"):
        seconds, megabytes = point(key, sizes[key], 1)
        assert seconds > 0
        assert megabytes >= 0


def test_growth_measures_in_processes_of_their_own() -> None:
    said: list[str] = []
    (curve,) = measure_growth(1, quick=True, only=["length"], say=said.append)
    assert curve.sizes == list(curve.subject.quick)
    assert all(seconds > 0 for seconds in curve.seconds)
    assert len(said) == 1
    assert said[0] in growth_table([curve])


def test_turns_leave_the_first_round_out() -> None:
    order: list[str] = []
    found = by_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert [len(seconds) for seconds in found.values()] == [2, 2]
    assert times_faster([4.0, 9.0], [2.0, 3.0]) == [2.0, 3.0]
    assert middle_and_range([3.0, 1.0, 2.0]) == "2.00 (1.00 to 3.00)"


def test_all_ways_of_encoding_give_the_same_regions(tmp_path: Path) -> None:
    import torch

    from src.bench.rounds import photographs

    encoder = encoding.build_encoder("efficientnet_lite0", 64)
    paths = photographs(tmp_path / "images", 3, 64)
    ways = encoding.ways_to_encode(encoder, paths, 1, tmp_path)
    base = ways[encoding.FIRST]()
    assert base.shape == (3, 4, 1280)
    for name, way in ways.items():
        difference = (way() - base).square().mean().sqrt() / base.square().mean().sqrt()
        assert difference < (0.2 if name == encoding.BF16 else 2e-3), name
    seconds = {name: [1.0, 2.0] for name in ways}
    table = encoding.encoding_table(encoding.Encoding("e", 64, 3, 1, seconds))
    assert "missed: 1.00" in table
    seconds[encoding.OURS] = [0.4, 0.8]
    assert "2 times met" in encoding.encoding_table(encoding.Encoding("e", 64, 3, 1, seconds))
    assert torch.isfinite(base).all()


def test_overheads_are_put_together_for_the_protocols_size() -> None:
    found = overheads.Overheads(
        images=5_000,  # a tenth of the protocol's
        steps={"plain loop": [2.0], "with Lightning": [2.1], "start and end": [1.0]},
        files={
            "everything": [0.35],
            "no checkpoints": [0.15],
            "no events": [0.30],
            "no files at all": [0.05],
        },
        hydra=[1.5],
        imports=[2.0],
        disk={"of a run: last.ckpt": 3_000_000, "of a run: metrics.csv": 1_000, "of sweep": 7_000_000},
    )
    shares = {name: values[0] for name, values in overheads.shares(found).items()}
    costs = {"Lightning": 15.0 + 1 + 2, "checkpoints": 3.0, "logging": 1.5, "Hydra": 1.5}
    whole = 300 + sum(costs.values())
    assert {name: shares[name] for name in costs} == pytest.approx(
        {name: 100 * cost / whole for name, cost in costs.items()}
    )
    assert shares["together"] == pytest.approx(sum(shares[name] for name in costs))
    assert overheads.estimated_disk(found) == 24 * 6_001_000
    assert "| 24 runs without plots, estimated, MB | 144.0 | 150 |" in overheads.overheads_table(found)


def test_overheads_leave_out_what_they_say() -> None:
    data = overheads.Resident(16)
    _, files = overheads.epoch_with_files(data, "everything", 2)
    assert set(files) == {"best.ckpt", "last.ckpt", "metrics.csv", "events"}
    found = overheads.measure_overheads(1, 16, epochs=2, starts=False)
    assert {len(seconds) for seconds in (*found.steps.values(), *found.files.values())} == {1}
    assert 24 * 6e6 < overheads.estimated_disk(found) < 150e6


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts mappings on Linux only")
def test_features_larger_than_the_memory_allowed_are_trained_on() -> None:
    found = memory.measure_memory(1_600, 185, steps=3)
    assert found.features > 200e6 > found.limit >= found.used
    assert found.refused
    assert len(found.losses) == 3
    assert all(math.isfinite(loss) for loss in found.losses)


def test_precision_compares_within_a_seed() -> None:
    def both(exact: list[float], coarse: list[float]) -> dict[str, list[float]]:
        return dict(zip(precision.FORMATS, (exact, coarse), strict=True))

    accuracy = both([0.90, 0.91], [0.905, 0.905])
    found = precision.Formats(8, [1, 2], accuracy, accuracy, both([1000.0, 1000.0], [800.0, 900.0]))
    assert precision.differences(found) == pytest.approx([0.005, -0.005])
    assert "0.85 times as fast" in precision.precision_table([found])
    assert "within one standard deviation" in precision.precision_table([found])


def test_bf16_runs_on_a_cpu_through_the_real_command(on_idx: tuple[str, ...]) -> None:
    limits = ("limit_train=128", "limit_val=50", "limit_test=50", "epochs=1", "batch_size=64")
    results = precision.one_run(["precision=bf16-mixed", *on_idx, *limits])
    assert results["settings"]["precision"] == "bf16-mixed"
    assert {"val_acc", "test_acc", "images_per_second"} <= results.keys()


def event(name: str, begin: float, duration: float, kind: str = "cpu_op", thread: int = 1) -> dict:
    return {"ph": "X", "cat": kind, "name": name, "ts": begin, "dur": duration, "tid": thread}


def test_flame_graph_merges_events_by_their_nesting() -> None:
    events = [
        event("a.py(1): f", 0, 100, "python_function"),
        event("aten::mm", 10, 20),
        event("aten::mm", 40, 20),
        event("aten::copy_", 42, 10),
        event("aten::add", 65, 30),
        event("elsewhere", 0, 900, thread=2),
        {"ph": "i", "name": "no event"},
    ]
    root = frames_of(events)
    (f,) = root.calls.values()
    assert (root.total, f.total, f.own) == (100, 100, 30)
    assert {name: (call.total, call.own) for name, call in f.calls.items()} == {
        "aten::mm": (40, 30),
        "aten::add": (30, 30),
    }
    assert [(left, width, level) for left, width, level, _ in boxes(root)] == [
        (0, 1, 0),
        (0, 1, 1),
        (0, 0.4, 2),
        (0, 0.1, 3),
        (0.4, 0.3, 2),
    ]
    assert flame_title(root, "it").startswith("It: mm takes 30 %, add 30 %")
    assert trunk_removed(root, "mm").calls.keys() == {"aten::copy_"}
    assert trunk_removed(root, "nothing") is root


def test_event_that_outlasts_where_it_began_is_not_cut() -> None:
    events = [event("enter", 0, 5), event("annotation", 3, 90), event("work", 10, 80)]
    calls = frames_of(events).calls
    assert calls["annotation"].total == 90
    assert calls["annotation"].calls["work"].total == 80


def test_names_are_short() -> None:
    assert short("/x/site-packages/torch/nn/module.py(12): forward") == "torch/nn/module.py: forward"
    assert short("<built-in method mm of type object at 0x7f12>") == "mm"


def test_profile_writes_trace_flame_graph_and_table(tmp_path: Path) -> None:
    found = profiles.profile_path("classifier-step", tmp_path, quick=True, threads=1)
    assert json.loads(found.trace.read_text())["traceEvents"]
    assert [path.suffix for path in found.flame] == [".png", ".svg"]
    assert "convolution" in found.flame[1].read_text() or "mm" in found.table
    assert "| operator |" in found.table
    assert "no operators" not in found.flame[1].read_text()


def test_the_floor_counts_what_torch_counts() -> None:
    network = ConvNet(0.3)
    with FlopCounterMode(display=False) as counted:
        F.cross_entropy(network(torch.rand(floor.BATCH, 1, 28, 28)), torch.arange(floor.BATCH)).backward()
    assert counted.get_total_flops() == floor.FLOP
    assert sum(weight.numel() for weight in network.parameters()) == floor.WEIGHTS
    found = floor.measure_floor(rounds=1)
    assert found.step > 0
    assert "times the larger of the two" in floor.floor_table(found)
