"""Published arrays of any type in an .npz archive; `test_cifar10` has what damage does."""

import hashlib
import io

import numpy as np
import pytest

from deqlab.tasks import DataError
from deqlab.tasks.files.errors import NotOriginalError
from deqlab.tasks.files.npz import NpzArray, NpzFile

ARRAYS = {
    "edges": np.arange(12, dtype=np.int32).reshape(2, 6),
    "weights": np.linspace(0, 1, 6, dtype=np.float32),
    "mask": np.array([True, False, True]),
}
FILE = NpzFile(
    name="graph.npz",
    arrays=tuple(
        NpzArray(
            key=key,
            shape=array.shape,
            dtype=array.dtype.name,
            sha256=hashlib.sha256(array).hexdigest(),
        )
        for key, array in ARRAYS.items()
    ),
)


def archive(**changes):
    stream = io.BytesIO()
    np.savez(stream, **{**ARRAYS, **changes})
    return stream.getvalue()


def test_arrays_come_back_in_the_order_of_the_description():
    found = FILE.read(archive(), where="here")
    for array, expected in zip(found, ARRAYS.values(), strict=True):
        np.testing.assert_array_equal(array, expected)
        assert array.dtype == expected.dtype


def test_the_size_is_bounded_by_what_the_arrays_take():
    assert FILE.most_bytes == 12 * 4 + 6 * 4 + 3 + 2**16
    assert len(archive()) < FILE.most_bytes


def test_another_type_is_not_the_original():
    with pytest.raises(NotOriginalError, match=r"its weights are float64 of shape \(6,\), exp"):
        FILE.read(archive(weights=ARRAYS["weights"].astype(np.float64)), where="here")


def test_another_content_is_told_with_its_checksum():
    other = ARRAYS["mask"][::-1] ^ True
    with pytest.raises(NotOriginalError, match="the sha256 checksum of its mask is") as caught:
        FILE.read(archive(mask=other), where="here")
    assert caught.value.checksum == hashlib.sha256(np.ascontiguousarray(other)).hexdigest()


def test_what_is_no_archive_is_told_with_all_keys():
    with pytest.raises(DataError, match="an npz archive of edges and weights and mask"):
        FILE.read(b"not a zip", where="here")
