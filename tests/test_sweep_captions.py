"""The table of caption runs over seeds, on folders made by hand."""

from pathlib import Path

import pytest

from src.sweep.captions import main, table
from src.sweep.runs import SweepError
from tests.sweep_folders import make_caption_run, make_run

BEAMS = {"beam": 1, "compare_beam": 5}


def cells(text: str, start: str) -> list[str]:
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {start}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_mean_and_spread_over_seeds_and_the_baselines(tmp_path: Path) -> None:
    for attention, scores in ((False, (0.50, 0.52, 0.54)), (True, (0.60, 0.60, 0.66))):
        for seed, score in enumerate(scores):
            make_caption_run(
                tmp_path,
                attention,
                seed=seed,
                settings=BEAMS,
                test_bleu4=score,
                test_beam5_bleu4=score + 0.1,
                baselines={"constant": {"bleu4": 0.1, "cider_d": 0.25}},
            )
    make_caption_run(tmp_path, True, seed=9, settings=BEAMS, results=False)  # still running
    text = table(tmp_path)
    bleu4 = cells(text, "on the test split").index("BLEU-4")
    greedy, beam5 = [line for line in text.splitlines() if line.startswith("| without attention")]
    # the sample standard deviation of 0.50, 0.52, 0.54 is 0.02
    assert greedy.split("|")[1 + bleu4].strip() == "0.520 ± 0.020"
    assert beam5.split("|")[1 + bleu4].strip() == "0.620 ± 0.020"
    assert [line.split("|")[2].strip() for line in (greedy, beam5)] == ["1", "5"]
    assert cells(text, "one constant caption")[bleu4] == "0.100"
    # means 0.62 and 0.52; pooled deviation sqrt((0.0012 + 0.0004) / 2) = 0.0283
    assert (
        "Attention is ahead by 0.1000 test BLEU-4, 3.5 times the seeds' standard deviation (0.0283)." in text
    )


def test_the_pointing_game_is_told_where_it_was_played(tmp_path: Path) -> None:
    game = {"hits": 6, "words": 10, "rate": 0.6, "chance": 0.15, "times_chance": 4.0}
    make_caption_run(tmp_path, True, settings=BEAMS, pointing_game=game)
    assert (
        "of 10 words' peaks 0.600 lie in the box of the named thing, by chance 0.150: 4.000 times"
        in table(tmp_path)
    )


def test_a_folder_without_caption_runs_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_run(tmp_path / "other")
    with pytest.raises(SweepError, match="holds no finished run of task=caption"):
        table(tmp_path / "other")
    assert main([str(tmp_path / "nowhere")]) == 2
    assert "is not a folder" in capsys.readouterr().err
