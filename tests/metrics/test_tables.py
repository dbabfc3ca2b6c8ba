import csv
import json
from dataclasses import replace
from math import isnan, nan

import pytest

from monai_tumor.errors import InputError
from monai_tumor.labels import REGIONS, Region
from monai_tumor.metrics.segmentation import CaseScores, LesionRule, RegionScores
from monai_tumor.metrics.tables import ScoreTable, align, show

SCORES = RegionScores(0.5, 3.0, 0.25, 100.0, 0.75, 0.6, -1.5, -0.1, 15.0, 13.5, 2, 1, 0)


def case(**changes):
    return CaseScores({region: replace(SCORES, **changes) for region in REGIONS})


@pytest.fixture
def table():
    table = ScoreTable("brats2021", LesionRule(1, 2.0), seed=5)
    table.add("a|1", case(dice=0.5))
    table.add("b", case(dice=0.9, volume_error_relative=nan))
    return table


def test_summary(table):
    summary = table.summary()
    assert list(summary) == list(REGIONS)
    assert summary[Region.WT]["dice"].mean == pytest.approx(0.7)
    assert summary[Region.WT]["dice"].n == 2
    assert (summary[Region.ET]["hd95_mm"].low, summary[Region.ET]["hd95_mm"].high) == (3, 3)
    assert summary[Region.ET]["volume_error_relative"].n == 1


def test_csv_has_a_row_for_each_case_and_region(table):
    rows = list(csv.DictReader(table.to_csv().splitlines()))
    assert [(row["case"], row["region"]) for row in rows] == [
        (name, region.value) for name in ("a|1", "b") for region in REGIONS
    ]
    assert rows[3]["dice"] == "0.9"
    assert rows[3]["volume_error_relative"] == ""
    assert rows[0]["lesions_missed"] == "1"


def test_json_comes_back_and_says_how_it_was_made(table, tmp_path):
    table.write(tmp_path / "out", more={"missing": ["c"]})
    content = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert content["scheme"] == "brats2021"
    assert content["lesion_rule"] == {
        "dilation_voxels": 1,
        "min_volume_mm3": 2.0,
        "penalty_mm": 374.0,
    }
    assert content["interval"]["seed"] == 5
    assert {"monai_tumor", "monai", "numpy", "scipy", "python"} == set(content["software"])
    assert content["missing"] == ["c"]
    assert content["cases"]["b"]["ET"]["volume_error_relative"] is None
    back = ScoreTable.from_dict(content)
    assert isnan(back.cases["b"].regions[Region.ET].volume_error_relative)
    assert back.as_dict() == table.as_dict()
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "scores.csv",
        "scores.json",
        "scores.md",
    ]


def test_markdown_is_readable(table, tmp_path):
    table.write(tmp_path, notes=["No prediction: c"])
    text = (tmp_path / "scores.md").read_text()
    assert "| Dice " in text
    assert "0.700 [0.500, 0.900]" in text
    assert "-0.10 (n 1)" in text
    assert "a\\|1" in text
    assert "dilated 1x" in text
    assert text.endswith("\nNo prediction: c\n")
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for lines in tables:
        assert len({len(line) for line in lines}) == 1


def test_plain_text_names_count_and_scheme(table):
    lines = str(table).splitlines()
    assert lines[0] == "2 cases, label scheme brats2021, mean [95% interval]"
    assert lines[1].split() == ["TC", "WT", "ET"]
    assert lines[2].split()[:2] == ["Dice", "0.700"]


def test_one_case_has_no_interval():
    table = ScoreTable("msd")
    table.add("a", case())
    assert str(table).splitlines()[0].startswith("1 case, ")
    assert "0.500  " in str(table)
    assert "[" not in str(table).splitlines()[2]


def test_align_and_show():
    assert align([["a", "bb"], ["long", "c"]]) == "a     bb\nlong  c"
    assert align([["a"], ["b|c"]], markdown=True) == "| a    |\n| ---- |\n| b\\|c |"
    assert show(0.81249, digits=3) == "0.812"
    assert show(1, 0.5, 2, digits=1) == "1.0 [0.5, 2.0]"
    assert show(nan, digits=1) == "-"


def test_cases_once_and_with_the_same_regions(table):
    with pytest.raises(
        InputError, match=r"^Case 'b' is in the table already; score each case once\.$"
    ):
        table.add("b", case())
    with pytest.raises(
        InputError, match=r"^Case 'c' has regions WT; the table holds TC, WT, ET\.$"
    ):
        table.add("c", CaseScores({Region.WT: SCORES}))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "Not monai_tumor scores of version 1: found format None, version None"),
        (
            {"format": "other"},
            "Not monai_tumor scores of version 1: found format 'other', version None",
        ),
        (
            {"format": "monai_tumor scores", "version": 2},
            "Not monai_tumor scores of version 1: found format 'monai_tumor scores', version 2",
        ),
        (
            {"format": "monai_tumor scores", "version": 1},
            r"Damaged monai_tumor scores: KeyError\('scheme'\). Evaluate again",
        ),
    ],
)
def test_other_json_is_refused(content, message):
    with pytest.raises(InputError, match=f"^{message}\\."):
        ScoreTable.from_dict(content)
