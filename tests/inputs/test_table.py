"""Tables of users: what is understood, what is refused in a sentence, and planted leaks."""

import pickle

import numpy as np
import pytest

from deqlab.inputs.kernel_table import KernelTable
from deqlab.inputs.table import frames, leaks
from deqlab.inputs.table.columns import preprocessing
from deqlab.inputs.table.table import read_table
from deqlab.tasks.files.errors import DataError

pd = pytest.importorskip("pandas")


def customers(n=200, seed=0):
    """Numbers with gaps, texts, a text that is a number but for blanks, names, and churn."""
    draw = np.random.default_rng(seed)
    age, plan = draw.normal(size=n), draw.choice(["a", "<b>b</b>"], n)
    frame = pd.DataFrame(
        {
            "age": np.where(draw.random(n) < 0.1, np.nan, age),
            "plan": plan,
            "total": [" " if i % 50 == 0 else f"{i / 7:.2f}" for i in range(n)],
            "name": [f"customer {i}" for i in range(n)],
            "nothing": np.nan,
            "country": "DE",
            "churn": np.where(age + (plan == "a") + 0.5 * draw.normal(size=n) > 0, "yes", "no"),
        }
    )
    return frame


def saved(frame, path):
    frame.to_csv(path, index=False)
    return str(path)


def test_what_is_understood(tmp_path):
    frame = customers()
    frame.loc[:2, "churn"] = None
    table = read_table(saved(frame, tmp_path / "my.csv"), "churn")
    assert table.columns.numeric == ("age", "total")
    assert table.columns.categories == ("plan",)
    assert list(table.x.columns) == ["age", "total", "plan"]
    gaps = (frame["age"][3:].isna().mean() + 3 / 197) / 3  # blanks of rows 50, 100 and 150
    yes = 100 * (frame["churn"] == "yes").sum() / 197
    assert table.description == (
        f"my.csv: 197 rows, 2 numeric + 1 text one-hot columns, {100 * gaps:.2g} % missing imputed,"
        f" 2 classes of churn (yes {yes:.0f} %, no {100 - yes:.0f} %); 3 rows without a target left"
        " out; left out name (197 different texts), nothing (empty), country (always the same)"
    )


def test_numbers_of_the_columns_come_from_the_training_rows_alone(tmp_path):
    table = read_table(saved(customers(), tmp_path / "my.csv"), "churn")
    fitted = preprocessing(table.columns).fit(table.x[:100])
    x = fitted.transform(table.x[100:])
    raw = pd.to_numeric(table.x["age"], errors="coerce")
    filled = raw.fillna(raw[:100].median())
    wanted = (filled - filled[:100].mean()) / filled[:100].std(ddof=0)
    np.testing.assert_allclose(x[:, 0], wanted[100:], rtol=1e-12)
    unseen = table.x[100:101].assign(plan="never seen", total="1e999")
    assert np.isfinite(fitted.transform(unseen)).all()
    again = pickle.loads(pickle.dumps(fitted)).transform(table.x[100:])
    np.testing.assert_array_equal(again, x)


@pytest.mark.parametrize(
    ("values", "regression", "labels"),
    [
        (np.arange(60) % 3, False, {"0", "1", "2"}),
        (np.arange(60) % 2 == 0, False, {"True", "False"}),
        (np.arange(60) / 7, True, None),
        (np.arange(60) * 100, True, None),
    ],
)
def test_classes_and_regressions(tmp_path, values, regression, labels):
    frame = pd.DataFrame({"x": np.arange(60.0) % 7, "y": values})
    table = read_table(saved(frame, tmp_path / "my.csv"), "y")
    assert table.is_regression == regression
    if labels is not None:
        assert set(table.y) == labels


def test_rare_classes_are_left_out_and_named(tmp_path):
    frame = pd.DataFrame({"x": np.arange(60.0), "y": ["a"] * 30 + ["b"] * 25 + ["c"] * 5})
    table = read_table(saved(frame, tmp_path / "my.csv"), "y")
    assert set(table.y) == {"a", "b"}
    assert len(table.x) == len(table.y) == 55
    assert "c left out, of fewer than 10 rows each" in table.description


def test_long_tables_are_drawn_from(tmp_path, monkeypatch):
    monkeypatch.setattr("deqlab.inputs.table.table.MOST_ROWS", 50)
    path = saved(customers(), tmp_path / "my.csv")
    first, again, other = (read_table(path, "churn", seed=seed) for seed in (0, 0, 1))
    assert len(first.y) == 50
    assert "50 of 200 rows drawn" in first.description
    pd.testing.assert_frame_equal(first.x, again.x)
    assert not first.x.equals(other.x)


def bad(frame=None, **columns):
    return (customers() if frame is None else frame).assign(**columns)


@pytest.mark.parametrize(
    ("frame", "target", "message"),
    [
        (bad(), "Chrun", "my.csv has no column 'Chrun'; nearest is 'churn'"),
        (bad(), "q", "my.csv has no column 'q'; it has age, plan, total"),
        (bad(), None, "say what is predicted; my.csv has age, plan"),
        (bad(churn="yes"), "churn", "churn of my.csv is always yes"),
        (bad(churn=1.5), "churn", "churn of my.csv is always 1.5"),
        (bad(churn=np.nan), "churn", "has 0 rows with a value of churn"),
        (bad()[:1], "churn", "has 1 row with a value of churn, and a comparison needs 30"),
        (bad(), "name", "200 different texts in 200 rows: these are names"),
        (bad()[["nothing", "churn"]], "churn", r"no column to predict churn from: nothing \(empty"),
        (bad()[["churn"]], "churn", "no column to predict churn from: there is no other"),
    ],
)
def test_tables_that_are_refused(tmp_path, frame, target, message):
    with pytest.raises(DataError, match=message):
        read_table(saved(frame, tmp_path / "my.csv"), target)


@pytest.mark.parametrize("cell", [1e300, -1e160, 1e39, 1e12])
@pytest.mark.parametrize("column", ["age", "churn"])
def test_a_number_that_would_decide_alone_is_refused(tmp_path, cell, column):
    frame = customers()[["age"]].fillna(0.0)
    frame["churn"] = np.random.default_rng(0).normal(size=200)
    frame.loc[1, column] = cell
    why = "too large for float32" if abs(cell) > 1e19 else "a million times farther"
    with pytest.raises(DataError, match=rf"column '{column}', row 2: .* {why}"):
        read_table(saved(frame, tmp_path / "my.csv"), "churn")


def test_large_numbers_that_are_no_mistake_are_taken(tmp_path):
    draw = np.random.default_rng(0)
    frame = customers().assign(
        id=2**62 + draw.integers(0, 2**61, 200),
        tail=draw.pareto(0.5, 200),
        rare=(np.arange(200) == 7) * 1e6,
        when=pd.date_range("2020-01-01", periods=200),
    )
    assert {"id", "tail", "rare"} <= set(read_table(saved(frame, tmp_path / "my.csv"), "churn").x)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-16"])
def test_utf_16_is_read_with_a_mark_and_without(tmp_path, encoding):
    path = tmp_path / "my.csv"
    path.write_bytes(("size,churn\n" + "1,jä\n2,no\n" * 20).encode(encoding))
    table = read_table(str(path), "churn")
    assert set(table.y) == {"jä", "no"}
    assert table.columns.numeric == ("size",)


def test_two_columns_of_one_name_are_refused(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text("a,churn,c,churn\n" + "1,yes,2,no\n2,no,3,yes\n" * 30)
    for read in (lambda: read_table(str(path), "churn"), KernelTable(name=str(path)).load):
        with pytest.raises(DataError, match=r"my\.csv has 2 columns 'churn'; rename all but one"):
            read()


def test_files_that_are_refused(tmp_path, monkeypatch):
    for name, content, why in [
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "cannot be read: look at its quotes, .* line 3, saw 3"),
        ("b.csv", b"\xff\xfe\x00", "not UTF-8"),
        ("c.csv", b"", "is empty; give a line of names"),
        ("d.npz", b"PK\x03\x04 cut", "is damaged or no archive of numpy; write it again"),
    ]:
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} .*{why}"):
            read_table(str(tmp_path / name), "a")
    with pytest.raises(DataError, match="does not exist: give a file"):
        read_table(str(tmp_path / "none.csv"), "a")
    (tmp_path / "model.pkl").write_bytes(b"")
    with pytest.raises(DataError, match="is none of them"):
        read_table(str(tmp_path / "model.pkl"), "a")
    with pytest.raises(DataError, match="--drop churn: that is the target"):
        read_table(saved(customers(), tmp_path / "my.csv"), "churn", drop=["churn"])
    monkeypatch.setattr("deqlab.tasks.files.memory.available_memory", lambda: 10**9)
    with (tmp_path / "huge.csv").open("wb") as file:
        file.truncate(5 * 10**9)  # a hole, which takes no place on the disk
    with pytest.raises(DataError, match="takes 50 GB of memory, and 1 GB are free"):
        read_table(str(tmp_path / "huge.csv"), "a")


class Planted:
    """Writes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


def test_nothing_in_an_archive_is_executed(tmp_path):
    path, trap = tmp_path / "my.npz", tmp_path / "trap"
    np.savez(path, x=np.array([[Planted(str(trap))]], dtype=object), y=np.zeros(1))
    with pytest.raises(DataError, match="holds Python objects"):
        read_table(str(path), "y")
    assert not trap.exists()


def test_archives_and_parquet(tmp_path):
    x, y = np.random.default_rng(0).normal(size=(60, 2, 2)), np.arange(60) % 2
    np.savez(tmp_path / "my.npz", x=x, y=y)
    table = read_table(str(tmp_path / "my.npz"), "y")
    assert list(table.x.columns) == ["x[0]", "x[1]", "x[2]", "x[3]"]
    np.testing.assert_array_equal(table.x.to_numpy(), x.reshape(60, 4))
    np.savez(tmp_path / "uneven.npz", x=x, y=y[:-1])
    with pytest.raises(
        DataError, match="as many lines as there are samples; it has x, y of 59, 60"
    ):
        read_table(str(tmp_path / "uneven.npz"), "y")
    pytest.importorskip("pyarrow")
    frame = customers()
    frame.to_parquet(tmp_path / "my.parquet")
    by_parquet = read_table(str(tmp_path / "my.parquet"), "churn")
    by_text = read_table(saved(frame, tmp_path / "my.csv"), "churn")
    assert by_parquet.columns == by_text.columns
    assert (by_parquet.y == by_text.y).all()


def test_a_folder_of_images(tmp_path):
    image = pytest.importorskip("PIL.Image")
    for name, shade in (("dark", 10), ("light", 200)):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(15):
            picture = image.new("RGB", (40, 30), (shade, shade, shade + number))
            picture.save(tmp_path / "pictures" / name / f"{number}.png")
    table = read_table(str(tmp_path / "pictures"), None)
    assert "pictures: 30 rows, 256 numeric columns, 2 classes of class" in table.description
    np.testing.assert_allclose(table.x.iloc[0], 10 / 255, atol=1e-9)
    (tmp_path / "pictures" / "dark" / "broken.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"broken.png cannot be read as an image"):
        read_table(str(tmp_path / "pictures"), None)
    with pytest.raises(DataError, match="two or more classes; it has 0 such folders"):
        read_table(str(tmp_path / "pictures" / "dark"), None)


def test_bundled_tables_and_openml(monkeypatch):
    assert (
        "178 rows, 13 numeric columns, 3 classes of target" in read_table("wine", None).description
    )
    bunch = type("Bunch", (), {"frame": customers(), "target_names": ["churn"]})
    monkeypatch.setattr(frames.datasets, "fetch_openml", lambda **options: bunch)
    assert read_table("openml:7", None).target == "churn"

    def offline(**options):
        raise OSError("no route to host")

    monkeypatch.setattr(frames.datasets, "fetch_openml", offline)
    with pytest.raises(DataError, match=r"openml:7 cannot be fetched, .*: no route to host"):
        read_table("openml:7", None)


@pytest.mark.parametrize("leak", ["copy", "text", "of it", "many to one", "none"])
def test_planted_leaks_of_classes(tmp_path, leak):
    frame = customers()
    third = np.arange(200) % 3 == 0
    frame["churn"] = np.where(third, "maybe", frame["churn"])
    planted = {
        "copy": frame["churn"],
        "text": frame["churn"].map({"yes": "2026-01", "no": "never", "maybe": "never mind"}),
        "of it": frame["churn"].map({"yes": 3.0, "no": 1.0, "maybe": 2.0}),
        "many to one": np.where(third, "open", "closed"),
        "none": np.random.default_rng(1).normal(size=200),
    }[leak]
    table = read_table(saved(frame.assign(later=planted), tmp_path / "my.csv"), "churn")
    assert leaks.suspects(table) == (() if leak == "none" else ("later",))


def blurred(y):
    return y + 0.1 * np.random.default_rng(3).normal(size=len(y))


@pytest.mark.parametrize("flipped", [0.01, 0.05])
def test_a_copy_of_which_some_rows_were_corrected_is_a_leak(tmp_path, flipped):
    yes = np.random.default_rng(2).permutation(400) < 200
    frame = pd.DataFrame({"churn": np.where(yes, "yes", "no")})
    wrong = np.random.default_rng(1).permutation(400) < 400 * flipped
    copy = np.where(wrong ^ yes, "closed", "open")
    table = read_table(saved(frame.assign(later=copy), tmp_path / "my.csv"), "churn")
    assert leaks.suspects(table) == ("later",)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["breast_cancer", "diabetes", "digits", "iris", "wine"])
def test_no_leak_is_suspected_where_there_is_none(name):
    assert leaks.suspects(read_table(name, None)) == ()


@pytest.mark.parametrize("leak", [lambda y: y, lambda y: -3 * y + 1, lambda y: y**2, blurred])
def test_planted_leaks_of_numbers(tmp_path, leak):
    draw = np.random.default_rng(0)
    x, y = draw.normal(size=(2, 300))
    y = y + x
    frame = pd.DataFrame({"x": x, "y": y, "later": leak(y)})
    table = read_table(saved(frame, tmp_path / "my.csv"), "y")
    assert leaks.suspects(table) == ("later",)
    (sentence,) = leaks.warnings_of(table)
    assert sentence.startswith("Suspicion of a leak: later nearly determines y")
    dropped = read_table(saved(frame, tmp_path / "my.csv"), "y", drop=["later"])
    assert list(dropped.x.columns) == ["x"]
    assert leaks.suspects(dropped) == ()
