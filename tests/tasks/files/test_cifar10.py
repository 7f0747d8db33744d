"""CIFAR-10's one file: found, verified, and described where it is absent or damaged."""

import hashlib
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from deqlab.tasks import DataError, FileState, inspect, load
from deqlab.tasks.files.npz import NpzArray, NpzFile
from deqlab.tasks.files.sets.cifar10 import CIFAR10
from deqlab.tasks.files.store import read_files

FILE = "cifar10_lossless_4000.npz"


def status(folder=None):
    """Return what `inspect` has to say about the one file."""
    (found,) = (status for status in inspect(folder) if status.data_set == "cifar10")
    return found


class Small:
    """As the real file, but of 20 images of 4 x 5."""

    images = np.random.default_rng(0).integers(0, 256, size=(20, 4, 5, 3), dtype=np.uint8)
    labels = (np.arange(20) % 10).astype(np.uint8)

    @classmethod
    def read(cls, folder=None):
        """Read the images and labels as those of the real file are read."""
        arrays = tuple(
            NpzArray(key=key, shape=array.shape, sha256=hashlib.sha256(array).hexdigest())
            for key, array in (("images", cls.images), ("labels", cls.labels))
        )
        small = replace(CIFAR10, files=(NpzFile(name=FILE, arrays=arrays),))
        ((images, labels),) = read_files(small, data_dir=folder)
        return images, labels

    @classmethod
    def write(cls, folder, *, compressed=True, **changes):
        folder.mkdir(parents=True, exist_ok=True)
        save = np.savez_compressed if compressed else np.savez
        save(folder / FILE, **{"images": cls.images, "labels": cls.labels, **changes})
        return folder / FILE


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize("inside", ["cifar10", "."])
def test_a_folder_is_read_however_the_arrays_are_compressed(tmp_path, compressed, inside):
    Small.write(tmp_path / inside, compressed=compressed)
    images, labels = Small.read(tmp_path)
    np.testing.assert_array_equal(images, Small.images)
    np.testing.assert_array_equal(labels, Small.labels)


def test_the_variable_and_the_cache_are_read(tmp_path, cache, monkeypatch):
    Small.write(cache / "cifar10")
    Small.read()
    monkeypatch.setenv("DEQLAB_DATA", str(tmp_path / "data"))
    (Small.write(tmp_path / "data" / "cifar10")).write_bytes(b"damaged")
    with pytest.raises(DataError, match=f"data/cifar10/{FILE} is truncated or damaged"):
        Small.read()


def test_absent_is_one_sentence_that_says_where_to_put_it(cache):
    message = (
        rf"^cifar10 is not on this machine \(looked in {re.escape(str(cache))}/cifar10\) and has "
        rf"no download; put {FILE} into {re.escape(str(cache))}/cifar10, or point --data-dir or "
        r"DEQLAB_DATA at a folder that holds cifar10/$"
    )
    with pytest.raises(DataError, match=message):
        load("cifar10")
    found = status()
    assert (found.file, found.state) == (FILE, FileState.MISSING)
    assert re.match(message, found.sentence)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("compressed", [True, False])
def test_a_truncated_file_is_one_sentence(tmp_path, share, compressed):
    path = Small.write(tmp_path, compressed=compressed)
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(DataError, match=r"is truncated or damaged: its \d+ bytes cannot be read"):
        Small.read(tmp_path)


@pytest.mark.parametrize("compressed", [True, False])
def test_no_changed_byte_goes_unnoticed(tmp_path, compressed):
    path = Small.write(tmp_path, compressed=compressed)
    raw = path.read_bytes()
    for place in range(0, len(raw), 7):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ 0x55]) + raw[place + 1 :])
        try:  # a byte of the zip format that nothing depends on may change
            images, labels = Small.read(tmp_path)
        except DataError:
            continue
        assert np.array_equal(images, Small.images)
        assert np.array_equal(labels, Small.labels)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": Small.images[:10]}, r"its images are uint8 of shape \(10, 4, 5, 3\), expected"),
        ({"labels": Small.labels.astype(np.int64)}, "its labels are int64 of shape"),
        ({"images": Small.images ^ 1}, "the sha256 checksum of its images is"),
        ({"labels": Small.labels[::-1]}, "the sha256 checksum of its labels is"),
    ],
)
def test_other_arrays_are_refused(tmp_path, changes, message):
    with pytest.raises(DataError, match=f"is not the original: {message}"):
        Small.read(Small.write(tmp_path, **changes).parent)


def test_arrays_of_another_size_are_not_unpacked(tmp_path, monkeypatch):
    Small.write(
        tmp_path, images=np.zeros((1 << 20, 4, 4, 3), np.uint8)
    )  # of 50 MB, packed to 50 KB
    monkeypatch.setattr("deqlab.tasks.files.npz.read_array", None)
    with pytest.raises(DataError, match=r"its images are uint8 of shape \(1048576, 4, 4, 3\), exp"):
        Small.read(tmp_path)


def test_a_longer_file_is_not_read_whole(tmp_path):
    with Small.write(tmp_path).open("r+b") as file:
        file.truncate(1 << 40)  # of zeros that take no place
    with pytest.raises(DataError, match=r"is not the original: it has more than 66756 bytes"):
        Small.read(tmp_path)


def test_an_archive_without_labels_is_refused(tmp_path):
    np.savez(tmp_path / FILE, images=Small.images)
    with pytest.raises(DataError, match=r"an npz archive of images and labels .*labels"):
        Small.read(tmp_path)


def test_an_object_array_is_not_unpickled(tmp_path):
    np.savez(tmp_path / FILE, images=np.array([{}], dtype=object), labels=Small.labels)
    with pytest.raises(DataError, match="is truncated or damaged"):
        Small.read(tmp_path)


def test_a_damaged_file_is_reported_and_not_raised(tmp_path):
    path = Small.write(tmp_path / "cifar10")
    found = status(tmp_path)
    assert found.state is FileState.DAMAGED
    assert found.sentence.startswith(f"{path} is not the original")


def test_the_real_file_is_found_verified_and_split_by_class(real_cifar10):
    found = status(real_cifar10)
    assert found.state is FileState.FOUND
    assert found.path == real_cifar10 / "cifar10" / FILE
    data = load("cifar10", data_dir=real_cifar10)
    train, test = data.y_train.bincount(), data.y_test.bincount()
    assert data.class_names[7] == "horse"
    # A fifth of 366 to 422 images of a class, to the nearest image.
    assert ((test / (train + test) - 0.2).abs() < 1 / 366).all()


def test_the_split_never_changes_and_the_channels_come_first(real_cifar10):
    data = load("cifar10", data_dir=real_cifar10)
    ((images, _),) = read_files(CIFAR10, data_dir=real_cifar10)
    pixels = ((data.x_train.double() * data.std + data.mean) * 255).round().to(torch.uint8)
    digest = hashlib.sha256(pixels.numpy().tobytes() + data.y_test.numpy().tobytes())
    assert digest.hexdigest()[:16] == "0fba8158fc441eae"
    shown = pixels[0].view(data.shape).permute(1, 2, 0).numpy()
    assert (images == shown).all(axis=(1, 2, 3)).sum() == 1
