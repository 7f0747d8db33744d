"""A table as samples of a kernel: which column has the classes, what became numbers."""

import numpy as np
import pytest

from deqlab.inputs.kernel_data import fingerprint, load, understood
from deqlab.inputs.kernel_table import AS_IS, NO_LABEL, KernelTable, is_table
from deqlab.tasks import DataError

ROWS = [
    f"{20 + i % 50},{'' if i == 7 else 1000 + 13 * (i % 37)},{'ABC'[i % 3]},{'yes' * bool(i % 4)}"
    for i in range(80)
]
ROWS = [row if row.endswith("yes") else f"{row}no" for row in ROWS]


def table(tmp_path, head="age,income,<b>city</b>,churn", rows=ROWS, name="my.csv"):
    file = tmp_path / name
    file.write_text("\n".join([head, *rows]) + "\n")
    return str(file)


def test_numbers_are_standardised_gaps_filled_and_texts_one_hot(tmp_path):
    name = table(tmp_path)
    read = KernelTable(name=name, label="churn").load()
    assert read.x.shape == (80, 2 + 1 + 3)  # a further column says where income was missing
    np.testing.assert_allclose(read.x[:, :2].mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(read.x[:, :2].std(axis=0), 1)
    assert np.bincount(read.labels).tolist() == [20, 60]
    assert read.description == (
        "my.csv: 80 rows, 2 numeric + 1 text one-hot columns, 0.42 % missing imputed, 2 classes of "
        "churn (yes 75 %, no 25 %); numbers standardised (--as-is leaves them)"
    )
    raw = KernelTable(name=name, label="churn", scaling=AS_IS).load()
    assert raw.x[:, 0].tolist() == [20.0 + i % 50 for i in range(80)]
    assert raw.description.endswith("numbers as they are")


def test_a_column_that_may_be_the_label_is_asked_about_and_never_a_feature_in_silence(tmp_path):
    name = table(tmp_path)
    with pytest.raises(DataError, match=r"churn \(2 values\), <b>city</b> \(3 values\) could: --l"):
        understood(name, None)
    told = understood(name, NO_LABEL)
    assert "no labels" in told
    assert "features of few values among them: churn (2 values), <b>city</b> (3 values)" in told
    told = understood(name, NO_LABEL, ("churn",))
    assert "churn" not in told
    named = table(tmp_path, head="age,income,city,Class", name="named.csv")
    assert "2 classes of Class (yes 75 %, no 25 %), taken for its name" in understood(named, None)
    both = table(tmp_path, head="age,income,y,label", name="both.csv")
    with pytest.raises(DataError, match="does not say which column holds the classes"):
        understood(both, None)


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        ("chrun", "has no column 'chrun'; nearest is 'churn'"),
        ("income", "income of my.csv holds numbers, and a kernel compares classes: --drop"),
    ],
)
def test_a_label_that_is_none_is_refused(tmp_path, label, sentence):
    with pytest.raises(DataError, match=sentence):
        understood(table(tmp_path), label)


def test_decimal_commas_and_an_index_are_understood(tmp_path):
    rows = [f"{i};{i % 9},5;{i % 7}.25;{'ab'[i % 2]}" for i in range(60)]
    name = table(tmp_path, head=";one;two;label", rows=rows)
    read = KernelTable(name=name, scaling=AS_IS).load()
    assert read.x[:3].tolist() == [[0.5, 0.25], [1.5, 1.25], [2.5, 2.25]]
    assert "Unnamed: 0 (names of rows)" in read.description


def test_a_file_of_numbers_without_names_is_no_table_and_is_left_as_it_is(tmp_path):
    name = table(tmp_path, head="1,2,3", rows=["4,5,6", "7,8,10"])
    assert not is_table(name)
    assert understood(name, None).startswith("my.csv: 3 samples of 3 features (1 to 3), no labels")
    with pytest.raises(DataError, match="is no table with names, and takes no option but --label"):
        understood(name, None, (), AS_IS)
    with pytest.raises(DataError, match="--drop is for files"):
        understood("digits", None, ("a",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("age,2020,churn\n34,1.5,yes\n", True),
        ("a,b\nx,y\n", True),
        ("5.1,3.5,setosa\n4.9,3.0,setosa\n", False),
        ("0,1,2\n4,5,6\n", False),
        ("# a,b\n1,2\n", False),
        ("", False),
    ],
)
def test_a_first_line_of_names_is_told_from_a_sample(tmp_path, text, expected):
    file = tmp_path / "x.csv"
    file.write_text(text)
    assert is_table(str(file)) == expected


def test_a_bundled_table_is_one_too():
    assert is_table("iris")
    assert fingerprint("iris") == ""
    data = load("iris", samples=60, classes=(0,), dimension=0, seed=0)
    assert data.number_of_classes == 3
    assert data.tau0 == pytest.approx(1)
