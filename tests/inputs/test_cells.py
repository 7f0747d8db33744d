"""What cells of a table say: dates, commas for thousands, lists; and how many columns are read."""

import numpy as np
import pytest

from deqlab.inputs.kernel_table import KernelTable
from deqlab.inputs.table import leaks
from deqlab.inputs.table.columns import preprocessing
from deqlab.inputs.table.table import read_table
from deqlab.tasks.files.errors import DataError

pd = pytest.importorskip("pandas")


def saved(frame, path):
    frame.to_csv(path, index=False)
    return str(path)


def plain(n=200):
    draw = np.random.default_rng(0)
    age = draw.normal(size=n)
    yes = age + 0.5 * draw.normal(size=n) > 0
    return pd.DataFrame({"age": age, "churn": np.where(yes, "yes", "no")})


def dated(n=200):
    """Dates and amounts as texts, in each way that is read, and in ways that are not."""
    draw = np.random.default_rng(5)
    days = pd.Timestamp("2024-01-01") + pd.to_timedelta(draw.integers(0, 900, n), "D")
    amounts = np.round(np.exp(draw.normal(7, 1, n)), 2)
    english = [f"{amount:,.2f}" for amount in amounts]
    german = [text.translate(str.maketrans(",.", ".,")) for text in english]
    frame = pd.DataFrame(
        {
            "joined": days.strftime("%Y-%m-%d"),
            "seen": days.strftime("%Y/%m/%d %H:%M"),
            "spend": english,
            "born": days.strftime("%d.%m.%Y"),
            "left": days.strftime("%m/%d/%y"),
            "betrag": german,
            "churn": np.where(draw.random(n) < 0.5, "yes", "no"),
        }
    )
    frame.loc[::20, ["joined", "spend"]] = None
    return frame, days, amounts


def test_dates_and_thousands_are_read_and_what_is_ambiguous_is_named(tmp_path):
    frame, days, amounts = dated()
    table = read_table(saved(frame, tmp_path / "my.csv"), "churn")
    assert table.columns.numeric == table.columns.commas == ("spend",)
    assert table.columns.dates == ("joined", "seen")
    told = table.description
    assert "1 numeric + 2 date (in days) columns, " in told
    assert "commas of spend read as thousands" in told
    for name, form in {"born": "2026-11-30", "left": "2026-11-30", "betrag": "1234.5"}.items():
        assert f"{name} ({frame[name][0]} can be read in two ways, write it as {form})" in told
    x = preprocessing(table.columns, standardised=False).fit_transform(table.x)
    given = np.arange(200) % 20 != 0
    np.testing.assert_array_equal(x[given, 0], amounts[given])
    np.testing.assert_array_equal(x[~given, 0], np.median(amounts[given]))
    since = (days - pd.Timestamp(0)).days.to_numpy()
    np.testing.assert_array_equal(x[given, 2], since[given])
    np.testing.assert_array_equal(x[:, 3], since)


def test_types_of_dates_do_not_matter(tmp_path):
    """A time with a zone, without, of another unit, and a date are days in UTC."""
    pytest.importorskip("pyarrow")
    days = pd.date_range("2024-03-01 12:00", periods=60, freq="D")
    frame = pd.DataFrame(
        {
            "naive": days.astype("datetime64[ns]"),
            "coarse": days.astype("datetime64[s]"),
            "zone": days.tz_localize("UTC").tz_convert("Asia/Tokyo"),
            "texts": days.strftime("%Y-%m-%dT%H:%M:%S+00:00"),
            "dates": days.date,
            "churn": np.arange(60) % 2,
        }
    )
    frame.to_parquet(tmp_path / "my.parquet")
    table = read_table(str(tmp_path / "my.parquet"), "churn")
    assert table.columns.dates == tuple(frame.columns[:-1])
    x = preprocessing(table.columns, standardised=False).fit_transform(table.x)
    first = 19783  # the 1st of March 2024: 54 years, 14 leap days of 1972 to 2024, and 31 + 28
    assert first == 54 * 365 + 14 + 31 + 28
    noon = first + 0.5 + np.arange(60)
    np.testing.assert_array_equal(x, np.stack([noon] * 4 + [noon - 0.5], axis=1))


@pytest.mark.parametrize(
    ("cells", "numeric"),
    [
        (["2026-02-30", "2026-13-01"], False),  # no such days
        (["1,23", "12,34"], False),
        (["0,123", "01,234"], False),
        (["1,234,567", "-1,234.5"], True),
        (["12,34,567", "1,2345"], False),
    ],
)
def test_cells_that_only_look_like_it(tmp_path, cells, numeric):
    frame = pd.DataFrame({"x": cells * 30, "z": np.arange(60) / 7, "churn": ["yes", "no"] * 30})
    columns = read_table(saved(frame, tmp_path / "my.csv"), "churn").columns
    assert ("x" in columns.numeric, columns.dates) == (numeric, ())


def test_targets_that_are_dates_or_have_commas(tmp_path):
    frame, days, amounts = dated()
    frame = frame.dropna().assign(z=np.arange(190) / 7)
    path = saved(frame, tmp_path / "my.csv")
    spend = read_table(path, "spend")
    np.testing.assert_array_equal(spend.y, amounts[frame.index])
    joined = read_table(path, "joined")
    np.testing.assert_array_equal(joined.y, (days - pd.Timestamp(0)).days[frame.index])
    assert "days since 1970)" in joined.description
    frame["joined"] = np.where(np.arange(190) % 2, "2024-01-01", "2024-02-01")
    cohorts = read_table(saved(frame, tmp_path / "cohorts.csv"), "joined")
    assert set(cohorts.y) == {"2024-01-01", "2024-02-01"}
    frame["joined"] = 1234567 + np.arange(190) % 2
    numbers = read_table(saved(frame, tmp_path / "numbers.csv"), "joined")
    assert set(numbers.y) == {"1234567", "1234568"}


def test_a_date_that_only_those_have_who_left_is_a_leak(tmp_path):
    frame = plain()
    days = pd.date_range("2024-01-01", periods=200).strftime("%Y-%m-%d")
    frame["cancelled"] = np.where(frame["churn"] == "yes", days, None)
    table = read_table(saved(frame, tmp_path / "my.csv"), "churn")
    assert table.columns.dates == ("cancelled",)
    assert leaks.suspects(table) == ("cancelled",)


@pytest.mark.parametrize("cells", [[[1, 2], [3]], [{"a": 1}, {"a": 2}], [np.ones(2), None]])
def test_lists_of_parquet_are_refused_until_they_are_dropped(tmp_path, cells):
    pytest.importorskip("pyarrow")
    frame = plain().assign(tags=cells * 100)
    frame.to_parquet(tmp_path / "my.parquet")
    path = str(tmp_path / "my.parquet")
    why = r"column 'tags' of my\.parquet holds lists, .*: give their entries .* --drop 'tags'"
    for read in (lambda: read_table(path, "churn"), KernelTable(name=path, label="").load):
        with pytest.raises(DataError, match=why):
            read()
    assert "age" in read_table(path, "churn", drop=["tags"]).x


def test_too_many_columns_are_refused_before_they_are_read(tmp_path, monkeypatch):
    names = [f"c{number}" for number in range(1_000_000)]
    (tmp_path / "wide.csv").write_text(",".join(names) + "\nno row that could be read\n")
    monkeypatch.setattr(pd, "read_csv", None)
    with pytest.raises(DataError, match="has 1,000,000 columns, and a table may have 25,000"):
        read_table(str(tmp_path / "wide.csv"), "c0")
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("deqlab.inputs.table.frames.MOST_COLUMNS", 2)
    dated()[0][["joined", "seen", "churn"]].to_parquet(tmp_path / "my.parquet")
    monkeypatch.setattr(pd, "read_parquet", None)
    with pytest.raises(DataError, match="has 3 columns, and a table may have 2"):
        read_table(str(tmp_path / "my.parquet"), "churn")
