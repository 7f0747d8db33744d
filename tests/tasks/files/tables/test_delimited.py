"""Tables as text, as programs and people write them: what is read, and what is refused where."""

import csv
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from deqlab.tasks import DataError
from deqlab.tasks.files.tables import read_samples


@pytest.fixture
def read(tmp_path):
    """Write a text into a file, and read it."""

    def read(text, label=None, *, encoding="utf-8", name="a.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
        found = read_samples(path, label=label)
        return found.x.tolist(), found.labels.tolist(), found.description

    return read


@pytest.fixture
def refusal(read, tmp_path):
    """Return the sentence that refuses a text, without the folder."""

    def refusal(text, label=None, **options):
        with pytest.raises(DataError) as refused:
            read(text, label, **options)
        sentence = str(refused.value)
        assert sentence.isprintable()
        return sentence.replace(f"{tmp_path}/", "")

    return refusal


LABELLED = ([[1.5], [2.5]], [0, 1])
"""What all texts of the next test say."""


@pytest.mark.parametrize(
    ("text", "options"),
    [
        ("a,label\n1.5,0\n2.5,1\n", {}),
        ("label,a\n0,1.5\n1,2.5\n", {"encoding": "utf-8-sig"}),
        ('"label","a"\n"0","1.5"\n"1","2.5"', {"encoding": "utf-8-sig"}),
        ("label\ta\n0\t1.5\n1\t2.5\n", {"encoding": "utf-16"}),  # Excel's "Unicode text"
        ("label\ta\n0\t1.5\n1\t2.5\n", {"name": "a.tsv"}),
        ("a;label\r\n1,5;no\r\n2,5;yes\r\n", {}),  # Excel where commas are decimal
        ("a\tlabel\n1,5\tno\n2,5\tyes\n", {}),
        ("a,label\r1.5,0\r2.5,1\r", {}),
        ("#label,a\n0,1.5\n1,2.5\n", {}),
        ("# label,a\n0.0e+00,1.5e+00\n1.0e+00,2.5e+00\n", {}),  # numpy.savetxt
        (",a,label\n0,1.5,0\n1,2.5,1\n", {}),  # pandas, with its index
        ('"","a","label"\n"one",1.5,"no"\n"two",2.5,"yes"\n', {}),  # R
        ("Unnamed: 0,a,label\n0,1.5,0\n1,2.5,1\n", {}),  # pandas, twice
        ("0,label\n1.5,0\n2.5,1\n", {}),
        ('a, "label"\n1.5, "no, never"\n2.5, "yes"\n', {}),
        ('a,label\n1.5,"no\nnever"\n2.5,yes\n', {}),
        ("a , Label \n 1.5 , no \n 2.5 , yes \n", {}),
        ("a,label\n\n1.5,0\n\n2.5,1\n\n\n", {}),
        ("a,b\n1.5,no\n2.5,yes\n", {"label": "b"}),
        ("1.5,no\n2.5,yes\n", {"label": "2"}),
        ("0,1.5\n1,2.5\n", {"label": "1"}),
        ("2019,b\n1.5,no\n2.5,yes\n", {"label": "b"}),
    ],
)
def test_samples_and_labels_however_they_are_written(read, text, options):
    label = options.pop("label", None)
    x, labels, description = read(text, label, **options)
    assert (x, labels) == LABELLED
    assert description.isprintable()
    assert "2 samples of 1 feature (" in description
    assert "2 classes (" in description


@pytest.mark.parametrize(
    ("text", "x"),
    [
        ("0,1\n1.5,2.5\n3.5,4.5\n", [[1.5, 2.5], [3.5, 4.5]]),
        ('"0","1"\n1.5,2.5\n3.5,4.5\n', [[1.5, 2.5], [3.5, 4.5]]),
        (",0,1\n0,1.5,2.5\n1,3.5,4.5\n", [[1.5, 2.5], [3.5, 4.5]]),
        ("0,1,2\n1,2,3\n4,5,6\n", [[1, 2, 3], [4, 5, 6]]),
        ("1.5,2.5\n3.5,4.5\n", [[1.5, 2.5], [3.5, 4.5]]),
        ("1,5;2,5\n3;4\n", [[1.5, 2.5], [3, 4]]),
        ("1 ,\t2\n+3e0,-.5\n", [[1, 2], [3, -0.5]]),
        ("a\n1\n2\n", [[1], [2]]),
        ("n,#\n1,2\n3,4\n", [[1, 2], [3, 4]]),
        ("a;b,c\n1,2\n", [[1, 2]]),
        ('"a;b","c"\n1,2\n', [[1, 2]]),
    ],
)
def test_tables_without_labels_are_one_class(read, text, x):
    found, labels, description = read(text)
    assert found == x
    assert labels == [0] * len(x)
    assert "no labels, so all are one class" in description


@pytest.mark.parametrize(
    ("text", "label", "line"),
    [
        (
            "a,b,species\n1,2,setosa\n3,4,virginica\n5,6,setosa\n",
            "species",
            "a.csv: 3 samples of 2 features (a to b), 2 classes (setosa, virginica) from column "
            "'species'",
        ),
        (
            "y,a\n1,2\n",
            None,
            "a.csv: 1 sample of 1 feature (a), 1 class (1) from column 'y', taken for its name "
            "(--label takes another)",
        ),
        (
            "1,5;2\n",
            None,
            "a.csv: 1 sample of 2 features (1 to 2), no labels, so all are one class (--label "
            "names those of a file); semicolons between cells; decimal commas; no line of names, "
            "so columns are called 1 to 2",
        ),
        (
            ",0,1\nx,2,3\n",
            None,
            "a.csv: 1 sample of 2 features (0 to 1), no labels, so all are one class (--label "
            "names those of a file); line 1 taken for names (0, 1); its first column, without a "
            "name, taken for names of rows and left out",
        ),
        (
            "a,<b>\x1b[31m\n1,2\n",
            "<b>\x1b[31m",
            r"a.csv: 1 sample of 1 feature (a), 1 class (2) from column '<b>\x1b[31m'",
        ),
    ],
)
def test_one_line_says_what_was_understood(read, text, label, line):
    assert read(text, label)[2] == line


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        (["1", "1.0", "2", "+1e0"], [0, 0, 1, 0], "1, 2"),
        (["10", "9", "-1"], [2, 1, 0], "-1, 9, 10"),
        (["b", "a", " b "], [1, 0, 1], "a, b"),
        (["x", "2", "2.0"], [1, 0, 0], "2, x"),
        (["9007199254740993", "9007199254740992"], [1, 0], "9007199254740992, 9007199254740993"),
        (["1_0", "10"], [1, 0], "10, 1_0"),
        (["1e999999999", "1"], [1, 0], "1, 1e999999999"),
    ],
)
def test_labels_that_are_equal_as_numbers_are_one_class(read, labels, numbers, names):
    text = "a,label\n" + "".join(f"1,{label}\n" for label in labels)
    _, found, description = read(text)
    assert found == numbers
    assert f"({names})" in description


def test_labels_may_have_decimal_commas_where_numbers_have(read):
    assert read("a;label\n1;1,0\n2;1\n")[1] == [0, 0]


@pytest.mark.parametrize(
    ("text", "label", "sentence"),
    [
        ("", None, "a.csv is empty"),
        ("\n\n", None, "a.csv is empty"),
        ("a,b\n", None, "a.csv has names of columns, and no samples below them"),
        ("a,b\n1,2\n3\n", None, "it has 1 cell in line 3, and 2 in the first"),
        ("a,b\n\n1,2,3\n", None, "it has 3 cells in line 3, and 2 in the first"),
        (
            "a,b\n1,5,2,5\n",
            None,
            "2 in the first; tabs, semicolons or commas separate cells",
        ),
        ("a,b\n1,2\n# done\n", None, "in line 3, and 2 in the first; # starts no comment: remove"),
        ("# a table\n1,2\n", None, "in line 2, and 1 in the first; .* # starts no comment"),
        ("a,b\n#1,2\n", None, "holds '#1' in line 2, column 'a', where a number belongs"),
        (
            "a,b\n1,x\n",
            None,
            "'x' in line 2, column 'b', where .* has to be named .--label",
        ),
        ('a,b\n"1\n\n2",x\n', None, r"holds '1\\n\\n2' in line 2, column 'a'"),
        ('n,a\n1,"2\n"\n3,x\n', None, "holds 'x' in line 4, column 'a'"),
        ("a,b\n1,\n", None, "is empty in line 2, column 'b'; fill it in, or remove the line"),
        ("a\n1\n\n2\n", None, "is empty in line 3"),
        ("a,b\n1,nan\n", None, "holds nan or inf, first in line 2, column 'b'"),
        ("a,b\n1,2\n-inf,2\n", None, "holds nan or inf, first in line 3, column 'a'"),
        ("1,2\n1e999,2\n", None, "holds nan or inf, first in line 2, column 1:"),
        ("a,b\n1_0,2\n", None, "holds '1_0' in line 2, column 'a'"),
        ('a,b\n"1,5",2\n', None, "'1,5' in .* decimals have a point where commas separate cells"),
        ("a;b\n1,5;2.5\n", None, r"with a point \(2.5\) and with a comma \(1,5\)"),
        ("a;b\n1.234,5;2\n", None, "holds '1.234,5' in line 2, column 'a'"),
        ("a b\n1 2\n", None, "holds '1 2' in line 2, .* tabs, semicolons or commas separate cells"),
        ("a,b\nTRUE,2\n", None, "holds 'TRUE' in line 2, column 'a'"),
        ('a,b\n1,"2\n3,4\n', None, "line 2: unexpected end of data; look at its quotes"),
        ('a,b\n"1"2,3\n', None, "line 2: .* look at its quotes"),
        ("a\n" + "1" * 200_000, None, "line 2: field larger than field limit"),
        ("a,b,\n1,2,\n", None, "has no name for column 3 of 3 in line 1: name it, or remove it"),
        (",a\n1,2\n1,3\n", None, "has no name for its first column, and repeats values there"),
        # Names or samples?
        (
            "5.1,3.5,setosa\n4.9,3.0,virginica\n",
            None,
            "'setosa' in line 1, column 3, .* no num",
        ),
        ("0,1\n1,0\n1,1\n", None, "begins with 0, 1 in line 1, which may be names or a sample"),
        ("0\n1.5\n", None, "begins with 0 in line 1, which may be names or a sample"),
        ("0,y\n1,n\n2,y\n", None, "begins with 0, y in line 1, which may be names or a sample"),
        ("1.5,y\n2.5,n\n", None, "holds 'y' in line 1, column 2"),
        # Labels
        ("a,b\n1,2\n", "c", "has no column called 'c'; it has a, b"),
        ("a,species\n1,2\n", "specis", "has no column called 'specis'; did you mean 'species'?"),
        ("1,2\n3,4\n", "0", "has no column called '0'; it has 1, 2"),
        ("a,a\n1,2\n", "a", "has columns 'a' and 'a'; rename one"),
        (
            "a,y,class\n1,2,3\n",
            None,
            "has columns 'y' and 'class'; say which column holds",
        ),
        ("label\n1\n", None, "has no features besides 'label'"),
        ("a,label\n1,\n", None, "has no label in line 2"),
        ("a,label\n1,2\n1,nan\n", None, "has no label in line 3"),
        ("x,y,z\n1,2.5,3\n", None, "has 2.5 in column 'y', which is no class; .* or rename 'y'"),
    ],
)
def test_what_is_no_table_of_numbers_is_refused_in_a_sentence(refusal, text, label, sentence):
    assert re.search(sentence, refusal(text, label))


def test_numbers_that_are_no_integers_are_classes_if_the_user_says_so(read):
    assert read("a,y\n1,2.5\n2,1.5\n", "y")[1] == [1, 0]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (b"a,b\n1,2\n3,\xf6\n", r"a.csv is not UTF-8 \(byte 0xf6 in line 3\); save it as UTF-8"),
        (b"gr\xf6sse\n1\n", r"is not UTF-8 \(byte 0xf6 in line 1\)"),
        (b"\x1f\x8b\x08\x00binary", "is not UTF-8"),
        (b"a,b\n1\x00,2\n", "a.csv"),
        ("a,b\n1,x\n".encode("utf-16-le"), "a.csv"),
    ],
)
def test_other_encodings_are_refused_in_a_sentence(refusal, text, sentence):
    assert re.search(sentence, refusal(text))


@pytest.mark.parametrize(
    "text", ["a,b\x1b[31m\n1,x\n", 'a,"<b>\n"\n1,x\n', "a,b\n1,\x1b]0;title\x07\n", "a\u202eb\nx\n"]
)
def test_no_sentence_has_control_characters(refusal, text):
    assert len(refusal(text)) < 300


def test_long_names_and_cells_make_short_sentences(refusal, read):
    assert len(refusal("a,b\n1," + "x" * 100_000 + "\n")) < 300
    names = [f"column{i}" for i in range(2000)]
    text = f"{','.join(names)}\n{','.join('1' * 2000)}\n"
    assert len(refusal(text, "nothing like it")) < 300
    assert "2000 features (column0 to column1999)" in read(text)[2]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 5), st.integers(2, 4)),
        elements=st.floats(allow_nan=False, allow_infinity=False),
    ),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_numbers_come_back_to_the_last_bit(tmp_path, x, separator, quoting):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=separator, quoting=quoting)
        writer.writerows([[f"c{i}" for i in range(x.shape[1])], *x.tolist()])
    np.testing.assert_array_equal(read_samples(path).x, x)


def test_a_table_that_memory_does_not_hold_is_refused_while_it_is_read(read, refusal, monkeypatch):
    text = "a,b\n" + "1,2\n" * 12_000
    monkeypatch.setattr("deqlab.tasks.files.tables.delimited._FIRST_ESTIMATE", 10_000)
    # 48 KB of text, 192 KB of numbers: 80 of them are read when the rest is estimated.
    monkeypatch.setattr("deqlab.tasks.files.memory.available_memory", lambda: 60_000)
    assert re.search(r"the rest of a.csv takes 7\S+ KB .* 60 KB are free", refusal(text))
    monkeypatch.setattr("deqlab.tasks.files.memory.available_memory", lambda: 40_000)
    assert re.search("^a.csv takes 48 KB .* 40 KB are free", refusal(text))
    monkeypatch.setattr("deqlab.tasks.files.memory.available_memory", lambda: 200_000)
    assert np.shape(read(text)[0]) == (12_000, 2)


@pytest.mark.slow  # a minute on a loaded machine; 5 seconds of the processor otherwise
def test_mnist_as_text_is_read_in_seconds(tmp_path):
    import time

    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, size=(6000, 784)) * (rng.random((6000, 784)) < 0.2)
    lines = [",".join(map(str, row)) + "\n" for row in x.tolist()]
    path = tmp_path / "mnist.csv"
    path.write_text("".join([",".join(f"p{i}" for i in range(784)) + "\n", *(lines * 10)]))
    start = time.process_time()
    found = read_samples(path)
    seconds = time.process_time() - start
    assert found.x.shape == (60_000, 784)
    np.testing.assert_array_equal(found.x[:6000], x)
    assert seconds < 30  # it takes 5; numpy.genfromtxt, which was here before, over a minute
