"""A data set of the user's: loaded by MODULE:NAME, and held to what it says."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deqlab.experiments import EXPERIMENTS
from deqlab.tasks import ClassificationData, DataError, Dataset, ImageData, inspect, load

X, Y = torch.randn(12, 4), torch.arange(12) % 3


def make(dataset):
    parts = {"x_train": X[:9], "y_train": Y[:9], "x_test": X[9:], "y_test": Y[9:]}
    return ClassificationData(name=dataset.name, num_classes=3, **parts)


def changed(**parts):
    def spoiled(dataset):
        value = make(dataset)
        for name, part in parts.items():  # past the type checks of the tests
            object.__setattr__(value, name, part)
        return value

    return replace(SET, make=spoiled)


SET = Dataset(
    name="mine",
    kind=ClassificationData,
    splits={"train": 9, "test": 3},
    shape=(4,),
    num_classes=3,
    source="here",
    licence="CC0",
    make=make,
)
CASES = {
    "from_one": (changed(y_train=Y[:9] + 1), "training part of .* has classes from 1 to 3, and 3"),
    "doubles": (changed(x_test=X[9:].double()), "needs inputs of float32"),
    "short": (changed(y_test=Y[:2]), r"it has \(3, 4\) and \(2,\)"),
    "gaps": (changed(x_train=torch.full((9, 4), np.nan)), "has inputs that are nan or inf"),
    "other": (replace(SET, make=lambda dataset: {}), "makes a dict, and says that it makes a Cl"),
    "raises": (
        replace(SET, make=lambda dataset: 1 / 0),
        r"ZeroDivisionError: division by zero \(test_own_datasets.py, line",
    ),
}
globals().update({name: dataset for name, (dataset, _) in CASES.items()})


def test_it_is_loaded_listed_and_takes_part():
    place = f"{__name__}:SET"
    assert torch.equal(load(place).x_train, X[:9])
    (status,) = inspect(names=[place])
    assert (status.data_set, status.sentence) == ("mine", "made by itself")
    assert replace(EXPERIMENTS["images"].presets["smoke"], dataset=place).dataset == place


@pytest.mark.parametrize("name", CASES)
def test_a_value_that_is_not_what_the_set_says_is_refused(name):
    with pytest.raises(DataError, match=CASES[name][1]):
        load(f"{__name__}:{name}")


def test_a_set_of_another_kind_is_refused_by_the_config():
    saliency = EXPERIMENTS["saliency"].presets["smoke"]
    with pytest.raises(
        DataError, match=f"holds ClassificationData, and .* is {ImageData.__name__}"
    ):
        replace(saliency, dataset=f"{__name__}:SET")
    with pytest.raises(ValueError, match="dataset is one of digits"):
        replace(saliency, dataset="minst")
