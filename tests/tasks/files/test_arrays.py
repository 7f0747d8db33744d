"""Arrays from .npy and .npz: every honest file, and no memory or code for a dishonest one."""

import io
import math
import os
import pickle
import re
import resource
import struct
import zipfile

import numpy as np
import pytest

from deqlab.tasks import DataError
from deqlab.tasks.files.tables import read_samples

X = np.arange(6.0).reshape(3, 2)


def header(shape, descr="<f8", *, text=None):
    """Write the header of an .npy file, version 1.0, by hand."""
    text = text or repr({"descr": descr, "fortran_order": False, "shape": shape})
    line = text.encode() + b" " * (-(len(text) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def zipped(**members):
    """Write bytes as members of a compressed archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    return file.getvalue()


@pytest.fixture
def read(tmp_path):
    def read(data, label=None, name=None):
        path = tmp_path / (name or ("a.npz" if data.startswith(b"PK") else "a.npy"))
        path.write_bytes(data)
        return read_samples(path, label=label)

    return read


@pytest.fixture
def refusal(read, tmp_path):
    def refusal(data, label=None, name=None):
        with pytest.raises(DataError) as refused:
            read(data, label, name)
        sentence = str(refused.value)
        assert sentence.isprintable()
        assert len(sentence) < 450
        return sentence.replace(f"{tmp_path}/", "")

    return refusal


@pytest.mark.parametrize(
    "x",
    [
        *(X.astype(dtype) for dtype in ("<f8", ">f8", ">f2", "<f4", "u1", ">i2", "<u8", "g")),
        np.asfortranarray(X),
        X.reshape(3, 1, 2),
        X[:, ::-1][:, ::-1],
    ],
    ids=lambda x: f"{x.dtype.str}-{x.strides}",
)
@pytest.mark.parametrize("write", [npy, lambda x: npz(x=x), lambda x: zipped(x=npy(x))])
def test_every_layout_of_numbers_is_read(read, x, write):
    found = read(write(x))
    assert found.x.dtype == np.float64
    assert found.x.dtype.isnative
    assert found.x.tolist() == X.tolist()


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        ([3, 1, 3], [1, 0, 1]),
        ([1.0, 2.0, 1.0], [0, 1, 0]),
        (["1", "1.0", "2"], [0, 0, 1]),
        ([b"b", b"a", b"b"], [1, 0, 1]),
        ([True, False, True], [1, 0, 1]),
        (np.array([3, 1, 3], dtype=">i2"), [1, 0, 1]),
    ],
)
def test_labels_may_be_numbers_or_texts(read, labels, numbers):
    assert read(npz(x=X, labels=labels)).labels.tolist() == numbers
    found = read(npz(x=X, kind=labels, labels=[0, 0, 0]), "kind")
    assert found.labels.tolist() == numbers
    assert "2 classes (" in found.description
    assert found.description.endswith("from array 'kind'")


def claims(shape, descr="<f8"):
    return header(shape, descr) + b"\0" * 48


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (claims((10**12,)), "a.npy is damaged: its header says 1000000000000 of float64, which"),
        (claims((10**6, 10**6)), "says 1000000 x 1000000 of float64, .* and 48 follow"),
        (zipped(x=claims((10**6, 10**6))), "array 'x' of a.npz is damaged: its header says 10"),
        (zipped(x=claims((10**6, 10**6), "|V0")), "of a.npz is damaged"),
        (zipped(x=header((10**12, 2), "<U0")), r"of str\) takes 16 TB of memory, and .* are free"),
        (zipped(x=claims((10**300, 2))), "is damaged: its header says a size that no array has"),
        (zipped(x=claims((-3, -2))), "is damaged: its header says a size that no array has"),
        (claims((2,) * 65), "is damaged: its header says"),
        (claims((3, True)), "is damaged: its header says"),
        (npz(x=X, labels=[0, 1, 0])[:-30], "a.npz cannot be read: "),
        (npy(X)[:-8], "is damaged: its header says 3 x 2 of float64, .* 48 bytes, and 40 follow"),
        (npy(X) + npy(X), "is damaged: its header says 3 x 2 .* 48 bytes, and 224 follow"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f{", "its header says that it has 2147483647 bytes"),
        (b"\x93NUMPY\x09\x00{", "is in version 9.0 of numpy's format, and 1.0 and 2.0 are"),
        (header(0, text="(" * 9000), "a.npy cannot be read: "),
        (header(0, text="{'descr': '<f8'}"), "a.npy cannot be read: Header does not contain"),
        (b"", "a.npy cannot be read: it does not begin as numpy's files do"),
        (b"PK\x03\x04", "a.npz cannot be read: File is not a zip file"),
        (pickle.dumps(X), "a.npy cannot be read: it does not begin"),
        (npz(), 'needs an array "x", one sample a row; it has none'),
        (npz(data=X), 'needs an array "x", one sample a row; it has data'),
        (npz(x=X, y=[0, 1, 2], labels=[0, 1, 2]), "has arrays 'y' and 'labels'; say which array"),
        (npz(x=X, y=[0.5, 1, 2]), "has 0.5 in array 'y', which is no class"),
        (npz(x=X, labels=[0, np.nan, 1]), "array 'labels' .* holds nan as the label of row 2"),
        (npz(x=X, labels=[[0], [1], [2]]), r"3 samples, and labels of shape \(3, 1\)"),
        (npz(x=X, labels=np.zeros(3, "M8[s]")), "must hold numbers or strings as labels"),
        (npy(np.array([[1, 2], [3, np.inf]])), "holds nan or inf, first in row 2, column 2"),
        (npy(np.full((1, 1), np.longdouble("1e4000"))), "holds nan or inf, first in row 1, col"),
        (npy(np.zeros((2, 2), [("a\x1b", "f8")])), "must hold real numbers; it holds records"),
        (npy(np.float64(1)), "must hold a matrix"),
        (npy(np.zeros((0, 3, 4))), "must hold a matrix"),
    ],
)
def test_what_lies_or_is_damaged_is_refused_in_a_sentence(refusal, data, sentence):
    assert re.search(sentence, refusal(data))


@pytest.mark.parametrize(
    ("data", "label", "sentence"),
    [
        (npy(X), "kind", r"a.npy holds one array, and no place for labels \(kind\)"),
        (npz(x=X, kinds=[0, 1, 2]), "kind", "no array called 'kind'; did you mean 'kinds'?"),
        (npz(x=X), "x", "no array called 'x'; it has none"),
    ],
)
def test_labels_that_are_not_there(refusal, data, label, sentence):
    assert re.search(sentence, refusal(data, label))


class Trap:
    """What does harm when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("where", ["x", "labels", "npy", "pickle", "header"])
def test_nothing_that_a_file_says_is_run(refusal, tmp_path, where):
    trap = np.array([Trap(tmp_path / "harm")] * 3, dtype=object)
    files = {
        "x": lambda: npz(x=trap),
        "labels": lambda: npz(x=X, labels=trap),
        "npy": lambda: npy(trap),
        "pickle": lambda: pickle.dumps(trap),
        "header": lambda: header(0, text=f"__import__('os').mkdir('{tmp_path}/harm')"),
    }
    assert "cannot be read" in refusal(files[where]())
    assert not (tmp_path / "harm").exists()


def bomb(path, shape):
    """Write an archive of zeros, which pack two hundred to one or better."""
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("x.npy", "w", force_zip64=True) as member,
    ):
        member.write(header(shape))
        member.write(bytes(8 * math.prod(shape)))


def test_a_member_that_memory_does_not_hold_is_not_unpacked(tmp_path, monkeypatch):
    bomb(tmp_path / "a.npz", (1 << 20, 16))
    monkeypatch.setattr("deqlab.tasks.files.memory.available_memory", lambda: 10**8)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert (tmp_path / "a.npz").stat().st_size < 1 << 20
    with pytest.raises(DataError, match=r"1048576 x 16 of float64\) takes 268 MB of memory, and"):
        read_samples(tmp_path / "a.npz")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 30_000  # KB


@pytest.mark.parametrize("size", [200, 0xFFFFFFF0])
def test_a_directory_of_an_archive_that_lies_about_sizes(refusal, size):
    data = bytearray(zipped(x=header(((size - 128) // 8, 1)) + bytes(4000)))
    place = data.rfind(b"PK\x01\x02") + 24
    data[place : place + 4] = struct.pack("<I", size)
    assert "cannot be read: " in refusal(bytes(data))


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("count", [10, 100_000])
def test_the_checksum_of_a_member_is_taken(refusal, compressed, count):
    x = np.random.default_rng(0).integers(0, 9, size=(count, 2)).astype(np.float64)
    data = bytearray(zipped(x=npy(x)) if compressed else npz(x=x))
    data[data.rfind(b"PK\x01\x02") + 16] ^= 1
    assert "cannot be read: Bad CRC-32" in refusal(bytes(data))


def test_no_changed_byte_of_an_archive_goes_unnoticed(tmp_path):
    raw = npz(x=X, labels=[0, 1, 1])
    path = tmp_path / "a.npz"
    for place in range(0, len(raw), 7):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0x55]) + raw[place + 1 :])
        try:  # a byte that nothing depends on may change, and one in the name of the labels
            found = read_samples(path)
        except DataError:
            continue
        np.testing.assert_array_equal(found.x, X)
        assert found.labels.tolist() in ([0, 1, 1], [0, 0, 0])
