"""A file of the user's: read once until it changes, and known by its checksum."""

import hashlib

import numpy as np
import pytest

from deqlab.tasks import DataError
from deqlab.tasks.files.tables import TableFile, read_samples


def test_a_file_is_read_once_until_it_changes(tmp_path, monkeypatch):
    path, read = tmp_path / "x.npy", []
    monkeypatch.setattr(
        "deqlab.tasks.files.tables.file.read_samples",
        lambda path, label: read.append(path) or read_samples(path, label=label),
    )
    np.save(path, np.random.default_rng(0).normal(size=(30, 5)))
    for _ in range(3):
        assert len(TableFile(name=str(path)).load().x) == 30
    assert read == [path]
    np.save(path, np.random.default_rng(0).normal(size=(31, 5)))
    assert len(TableFile(name=str(path)).load().x) == 31


def test_another_label_is_another_table(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, x=np.ones((6, 2)), y=np.arange(6) % 2, kind=np.arange(6) % 3)
    assert TableFile(name=str(path)).load().labels.max() == 1
    assert TableFile(name=str(path), label="kind").load().labels.max() == 2


def test_the_checksum_is_that_of_the_bytes(tmp_path):
    path = tmp_path / "x.csv"
    path.write_bytes(b"a,b\n1,2\n")
    assert TableFile(name=str(path)).checksum() == hashlib.sha256(b"a,b\n1,2\n").hexdigest()


def test_an_absent_file_is_one_sentence(tmp_path):
    file = TableFile(name=str(tmp_path / "absent.csv"))
    with pytest.raises(DataError, match=r"absent\.csv does not exist, or cannot be read \(No such"):
        file.checksum()
    with pytest.raises(DataError, match=r"absent\.csv does not exist, or is no file$"):
        file.load()
