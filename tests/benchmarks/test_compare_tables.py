"""What docs/compare.md shows of `deqlab compare` on six tables is what was measured."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks import churn, compare_tables
from benchmarks.tables import markdown
from deqlab.experiments.tables.arms import ARMS, CONSTANT, DEQ
from deqlab.inputs.table.leaks import suspects
from deqlab.inputs.table.table import read_table

PAGE = (Path(__file__).parents[2] / "docs" / "compare.md").read_text("utf-8")
ROWS = compare_tables.latest()["rows"]


def test_the_page_has_the_table():
    assert f"\n\n{markdown(compare_tables.table_of_results(ROWS))}\n\n" in PAGE
    assert compare_tables.written(PAGE, ROWS) == PAGE
    with pytest.raises(ValueError, match="has no place for the table"):
        compare_tables.written("# A page without", ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['table']}-{row['seed']}")
def test_an_answer_claims_what_its_intervals_support(row):
    """From the ends of the intervals alone, which the answer is not made from here."""
    rivals = {arm: lead for arm, lead in row["leads"].items() if arm != CONSTANT}
    for estimate, low, high in row["leads"].values():
        assert low <= estimate <= high
    if row["answer"].startswith("Use the DEQ: it predicts"):
        assert all(low > 0 for _, low, _ in rivals.values())
    elif row["answer"].startswith("Not a DEQ"):
        (arm,) = [arm for arm in rivals if f"by the {ARMS[arm].label}." in row["answer"]]
        assert rivals[arm][2] < 0
    elif row["answer"].startswith("No DEQ needed"):
        assert all(high >= 0 for *_, high in rivals.values())
        assert row["advised"] in rivals
    else:
        assert row["answer"].startswith("No model here surely predicts")
        assert row["advised"] is None


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row['table']}-{row['seed']}")
def test_a_leak_is_suspected_aloud_where_one_was_planted_and_nowhere_else(row):
    wanted = [churn.LEAK] if compare_tables.MADE.get(row["table"]) else []
    assert row["suspected"] == wanted
    aloud = [line for line in row["printed"] if line.startswith("Suspicion of a leak:")]
    assert [line.split()[4] for line in aloud[: len(wanted)]] == wanted
    assert bool(aloud) == bool(wanted)
    assert any(row["answer"] in line for line in row["printed"])


def test_seeds_that_answer_alike_are_told_as_one():
    row = {
        "table": "a",
        "seed": 0,
        "metric": "auc",
        "scores": {"constant": 0.5, "linear": 0.9, DEQ: 0.8},
        "leads": {"constant": [0.3, 0.1, 0.5], "linear": [-0.1, -0.3, 0.1]},
        "answer": "No DEQ needed.",
        "suspected": [],
        "cpu_seconds": 12.3,
    }
    other = row | {"seed": 1, "suspected": ["b"], "cpu_seconds": 45.6}
    head, line = compare_tables.table_of_results([row, other])
    assert dict(zip(head, line, strict=True)) == {
        "table": "a",
        "decided by": "area under the ROC curve",
        "DEQ": "0.800",
        "best rival": "linear model 0.900",
        "lead of the DEQ, with its interval": "-0.100 (-0.300 to +0.100)",
        "answer": "both seeds: No DEQ needed.",
        "suspected of a leak": "none; b",
        "seconds on a processor": "12; 46",
    }
    unlike = compare_tables.table_of_results([row, row | {"answer": "Use it."}])
    assert unlike[1][5] == "No DEQ needed.; Use it."


def test_the_made_table_is_what_its_file_says_it_is(tmp_path):
    pytest.importorskip("pandas")
    frame, best = churn.churn()
    share = (frame["churn"] == "yes").mean()
    # Three standard errors of a share of .05 among 2,000 rows.
    assert share == pytest.approx(churn.SHARE, abs=3 * np.sqrt(0.05 * 0.95 / churn.ROWS))
    assert 0.7 < best < 0.9
    assert frame.equals(churn.churn()[0])
    churn.write(tmp_path / "churn.csv", leak=True)
    table = read_table(str(tmp_path / "churn.csv"), "churn")
    assert table.columns.commas == ("spend",)
    assert table.columns.dates == ("joined",)
    assert list(table.columns.left_out) == ["customer"]
    assert suspects(table) == (churn.LEAK,)
