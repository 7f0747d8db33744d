"""Samples from files of the user's: what is read, and every mistake in a sentence."""

import numpy as np
import pytest

from deqlab.tasks import DataError
from deqlab.tasks.files.tables import read_samples

X = np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])


def test_a_matrix_without_labels_is_one_class(tmp_path):
    np.save(tmp_path / "x.npy", X.astype(np.float32))
    found = read_samples(tmp_path / "x.npy")
    assert found.x.dtype == np.float64
    assert found.x.tolist() == X.tolist()
    assert found.labels.tolist() == [0, 0, 0]


def test_images_are_flattened(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
    assert read_samples(tmp_path / "x.npy").x.shape == (2, 12)


@pytest.mark.parametrize("name", ["label", "labels", "class", "target", "y"])
def test_labels_have_several_names_and_are_numbered(tmp_path, name):
    np.savez(tmp_path / "x.npz", x=X, **{name: np.array(["b", "a", "b"])})
    assert read_samples(tmp_path / "x.npz").labels.tolist() == [1, 0, 1]


def test_labels_may_be_called_something_else(tmp_path):
    np.savez(tmp_path / "x.npz", x=X, churn=["b", "a", "b"])
    assert read_samples(tmp_path / "x.npz").labels.tolist() == [0, 0, 0]
    assert read_samples(tmp_path / "x.npz", label="churn").labels.tolist() == [1, 0, 1]


def test_one_line_says_what_was_understood(tmp_path):
    np.savez(tmp_path / "x.npz", x=X, labels=["b", "a", "b"])
    line = (
        "x.npz: 3 samples of 2 features, 2 classes (a, b) from array 'labels', taken for its name "
        "(--label takes another)"
    )
    assert read_samples(tmp_path / "x.npz").description == line
    np.save(tmp_path / "x.npy", X)
    line = (
        "x.npy: 3 samples of 2 features, no labels, so all are one class (--label names those of "
        "a file)"
    )
    assert read_samples(tmp_path / "x.npy").description == line


@pytest.mark.parametrize("name", ["x.csv", "x.CSV", "x.tsv"])
def test_tables_of_text(tmp_path, name):
    (tmp_path / name).write_text("a, Label ,b\n1,cat,2\n3,dog,4\n", encoding="utf-8")
    found = read_samples(tmp_path / name)
    assert found.x.tolist() == [[1, 2], [3, 4]]
    assert found.labels.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "write", "sentence"),
    [
        ("x.txt", None, "is none of .npy, .npz, .csv"),
        ("x.npy", None, "does not exist"),
        ("x.npy", lambda f: f.write_bytes(b""), "cannot be read"),
        ("x.npy", lambda f: f.write_bytes(b"\x93NUMPY\x01"), "cannot be read"),
        ("x.npz", lambda f: f.write_bytes(b"PK\x03\x04 cut"), "cannot be read"),
        ("x.npy", lambda f: np.save(f, np.array([object()])), "cannot be read"),
        ("x.npy", lambda f: np.save(f, X[0]), r"a matrix, one sample a row; its shape is \(2,\)"),
        ("x.npy", lambda f: np.save(f, X[:0]), "a matrix, one sample a row"),
        ("x.npy", lambda f: np.save(f, X * 1j), "real numbers; it holds complex128"),
        ("x.npz", lambda f: np.savez(f, data=X), 'needs an array "x".*it has data'),
        ("x.npz", lambda f: np.savez(f, x=X, y=np.arange(2)), "3 samples, and labels of shape"),
        ("x.csv", lambda f: f.write_text(""), "empty"),
        ("x.csv", lambda f: f.write_text("1,2\n3\n"), "cannot be read"),
        ("x.csv", lambda f: f.write_text("a,b\n1,2\n3,x\n"), "holds 'x' in line 3, column 'b'"),
    ],
)
def test_what_is_not_samples_is_refused(tmp_path, name, write, sentence):
    if write is not None:
        write(tmp_path / name)
    with pytest.raises(DataError, match=sentence):
        read_samples(tmp_path / name)


def test_it_is_found_where_users_import_it_from():
    from deqlab.tasks import read_samples as public
    from deqlab.tasks.tables import read_samples as former

    assert public is former is read_samples
