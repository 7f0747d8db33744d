"""Data and labels in whatever holds them: the same kernel, or one sentence."""

import numpy as np
import pytest
import scipy.sparse
import torch

from deqlab.activations import ReLU
from deqlab.kernels import GaussianMixture, ImplicitKernel, equivalent
from deqlab.kernels.data import as_data
from deqlab.kernels.labels import as_classes
from tests.problems import F64

KERNEL = ImplicitKernel(ReLU(), sigma_a2=0.2)
X = np.random.default_rng(0).integers(-4, 5, (12, 3)).astype(float)  # float16 holds them


class Table:
    """What numpy makes an array of, and torch does not."""

    def __array__(self, dtype=None, copy=None):
        return X.astype(object)


def read_only(x):
    x = x.copy()
    x.flags.writeable = False
    return x


CONTAINERS = {
    "reversed rows": X[::-1].copy()[::-1],
    "reversed columns": X[:, ::-1].copy()[:, ::-1],
    "strided": np.repeat(np.repeat(X, 2, axis=0), 3, axis=1)[::2, ::3],
    "Fortran order": np.asfortranarray(X),
    "big-endian": X.astype(">f8"),
    "big-endian float32": X.astype(">f4"),
    "little-endian integers": X.astype("<i2"),
    "big-endian integers": X.astype(">i4"),
    "float16": X.astype(np.float16),
    "long double": X.astype(np.longdouble),
    "read only": read_only(X),
    "objects": X.astype(object),
    "a masked array without a mask": np.ma.array(X),
    "lists": X.tolist(),
    "a tuple of arrays": tuple(X),
    "a list of tensors": [torch.tensor(row, requires_grad=True) for row in X],
    "a table": Table(),
    "a sparse matrix": scipy.sparse.csr_matrix(X),
    "a tensor with a gradient": torch.tensor(X, requires_grad=True),
    "a transposed tensor": torch.tensor(X.T.copy()).T,
    "bfloat16": torch.tensor(X, dtype=torch.bfloat16),
    "int8": torch.tensor(X, dtype=torch.int8),
    "a sparse tensor": torch.tensor(X).to_sparse(),
    "a parameter": torch.nn.Parameter(torch.tensor(X)),
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_any_container_holds_the_same_data(name):
    found = as_data(CONTAINERS[name])
    assert found.dtype == F64
    assert not found.requires_grad
    assert torch.equal(found, torch.tensor(X))
    assert torch.equal(KERNEL.conjugate(CONTAINERS[name]), KERNEL.conjugate(torch.tensor(X)))


def test_a_memory_map_is_data_and_is_not_written_to(tmp_path):
    np.save(tmp_path / "x.npy", X)
    for mode in ("r", "c"):
        stored = np.load(tmp_path / "x.npy", mmap_mode=mode)
        as_data(stored).zero_()
        assert (stored == X).all()


def test_tables_of_pandas_are_data():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame(X, columns=list("abc"))
    table["b"] = table["b"].astype(int)
    assert torch.equal(as_data(table), torch.tensor(X))
    assert torch.equal(as_data(table.astype("Float64")), torch.tensor(X))
    column = pandas.Series(["yes", "no"] * 6)
    for labels in (column, column.astype("category"), column.astype("string")):
        assert as_classes(labels, 12)[0] == ["no", "yes"]
    table["c"] = "some text"
    with pytest.raises(ValueError, match="x must hold real numbers, got"):
        as_data(table)


@pytest.mark.parametrize(
    ("x", "sentence"),
    [
        ([["1.5", "2"]], "real numbers, got <U3"),
        (np.array([[1.0, "2"]], dtype=object), "real numbers, got object"),
        (np.array([[1.0, {}]], dtype=object), "x must hold real numbers: "),
        (np.array([[1.0, None]], dtype=object), "nan or inf in 1 of 1 rows"),
        (np.array([["2020-01-01"]], dtype="M8[D]"), r"real numbers, got datetime64\[D\]"),
        ([[1j, 2.0]], "real numbers, got complex128"),
        ([[1.0, 2.0], [3.0]], "x must be a matrix of numbers: "),
        (np.ma.array([[1.0, 2.0]], mask=[[False, True]]), "x has masked entries"),
        (3.0, r"one sample a row, got shape \(\)"),
        (X[0], r"one sample a row, got shape \(3,\)"),
    ],
)
def test_what_is_no_data_is_refused(x, sentence):
    with pytest.raises(ValueError, match=sentence):
        KERNEL.conjugate(x)


INTEGERS = np.arange(12) % 2
NAMES = np.array(["cat", "dog"])[INTEGERS]


@pytest.mark.parametrize(
    "labels",
    [
        INTEGERS.tolist(),
        INTEGERS.astype(">i2"),
        INTEGERS.astype(np.uint8),
        INTEGERS[::-1].copy()[::-1],
        INTEGERS.astype(object),
        torch.tensor(INTEGERS, dtype=torch.int32),
        5 + 10**12 * INTEGERS,
        NAMES,
        NAMES.tolist(),
        NAMES.astype(object),
        NAMES.astype("S"),
    ],
    ids=lambda labels: f"{type(labels).__name__}-{getattr(labels, 'dtype', '')}",
)
def test_labels_are_numbers_or_names(labels):
    expected = equivalent(KERNEL, X, torch.tensor(INTEGERS)).dense()
    assert torch.equal(equivalent(KERNEL, X, labels).dense(), expected)


@pytest.mark.parametrize(
    ("labels", "sentence"),
    [
        (["a"] * 11 + [1], "integers or strings, all of one kind, got int, str"),
        (["a"] * 11 + [None], "integers or strings, all of one kind, got NoneType, str"),
        ([0.5] * 12, "integers or strings, all of one kind, got float"),
        (np.zeros(12), "labels must be integers or strings, got float64"),
        (NAMES[:11], r"one integer or string a sample, \(12,\), got shape \(11,\)"),
        (NAMES[:, None], "one integer or string a sample"),
        (["a"] * 11 + ["b"], "class b has 1 sample;"),
        (np.ma.array(INTEGERS, mask=INTEGERS == 1), "labels has masked entries"),
    ],
)
def test_what_is_no_label_is_refused(labels, sentence):
    with pytest.raises(ValueError, match=sentence):
        equivalent(KERNEL, X, labels)


def test_a_mixture_takes_any_array_and_numbers_its_means():
    means = np.arange(8.0, dtype=">f4").reshape(2, 4)[:, ::-1]
    mixture = GaussianMixture(means, [1.0, 2.0], INTEGERS.astype(">i8")[::-1])
    assert torch.equal(mixture.means, torch.tensor(means.astype(float)))
    assert mixture.labels.tolist() == INTEGERS[::-1].tolist()
    with pytest.raises(ValueError, match="labels of a mixture number the rows of its means"):
        GaussianMixture(means, [1.0, 2.0], NAMES)
