"""What every data set must satisfy: a new one inherits these tests by being defined."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest
import torch

from deqlab import tasks
from deqlab.tasks import DATASETS, NAMES, ClassificationData, DataError, FileState, names_of
from deqlab.tasks.files import registry

# Looked at before the fixtures hide it from the tests.
REAL = Path(os.environ.get("DEQLAB_DATA", Path(__file__).parents[4] / "shared" / "data"))
UNBUNDLED = [name for name, dataset in DATASETS.items() if dataset.files]


@pytest.fixture(params=NAMES)
def dataset(request):
    return DATASETS[request.param]


@pytest.fixture(scope="module", params=NAMES)
def value(request):
    dataset = DATASETS[request.param]
    if not dataset.files:
        return dataset, tasks.load(dataset.name)
    if not (REAL / dataset.folder).is_dir():
        pytest.skip(f"needs {REAL / dataset.folder}: point DEQLAB_DATA at the folder that holds it")
    return dataset, tasks.load(dataset.name, data_dir=REAL, download=False)


def test_a_name_belongs_to_one_data_set():
    assert max(Counter(dataset.name for dataset in registry.defined()).values()) == 1
    assert set(registry.NAMES) == {dataset.name for dataset in registry.defined()}


def test_bundled_data_sets_come_first_and_those_without_download_last():
    known = ("digits", "mnist", "fashion_mnist", "cifar10")
    assert tuple(name for name in NAMES if name in known) == known
    efforts = [(bool(d.files), bool(d.files) and not d.mirrors) for d in DATASETS.values()]
    assert efforts == sorted(efforts)


def test_it_says_what_it_holds_and_where_it_comes_from(dataset):
    assert re.fullmatch(r"[a-z0-9_]+", dataset.name)  # also the name of a folder
    assert dataset.source
    assert dataset.licence
    assert dataset.splits
    assert all(count > 0 for count in dataset.splits.values())
    assert (dataset.bundled_with is None) == bool(dataset.files)
    assert all(mirror.startswith("http") and mirror.endswith("/") for mirror in dataset.mirrors)


def test_its_files_can_be_told_from_all_others(dataset):
    assert len({file.name for file in dataset.files}) == len(dataset.files)
    for file in dataset.files:
        assert file.archive.startswith(file.name)
        assert file.most_bytes > 0
        assert all(re.fullmatch(r"[0-9a-f]{64}", checksum) for checksum in file.checksums)
    every = [file.checksums for d in DATASETS.values() for file in d.files]
    assert len(set(every)) == len(every) > 0


@pytest.mark.parametrize("name", UNBUNDLED)
def test_where_it_is_absent_one_sentence_says_what_to_put_where(name, cache):
    folder = cache / DATASETS[name].folder
    message = rf"^{name} is not on this machine \(looked in .*; put .* into {folder}, or point "
    with pytest.raises(DataError, match=message):
        tasks.load(name, download=False)
    found = [status for status in tasks.inspect() if status.data_set == name]
    assert [status.file for status in found] == [file.archive for file in DATASETS[name].files]
    assert {status.state for status in found} == {FileState.MISSING}


def test_the_value_is_of_its_kind(value):
    dataset, data = value
    assert isinstance(data, dataset.kind)


def test_a_classification_set_holds_what_it_says(value):
    dataset, data = value
    if not isinstance(data, ClassificationData):
        pytest.skip("no classification set")
    assert data.name == dataset.name
    assert data.num_classes == dataset.num_classes
    size = torch.Size(dataset.shape).numel()
    for part, x, y in (
        ("train", data.x_train, data.y_train),
        ("test", data.x_test, data.y_test),
    ):
        assert x.shape == (dataset.splits[part], size)
        assert x.dtype == torch.float32
        assert y.shape == (dataset.splits[part],)
        assert y.unique().tolist() == list(range(dataset.num_classes))


def test_a_kind_has_the_names_of_its_subclasses():
    assert set(names_of(tasks.ImageData)) <= set(names_of(ClassificationData))
    assert names_of(object) == NAMES
    assert names_of(int) == ()
