"""The convolutional features: shape, scale, determinism, and that they know something."""

import os
from pathlib import Path

import pytest
import torch

from deqlab.inputs.classification import Inputs, draw, load_inputs
from deqlab.inputs.features import centred_and_scaled, convolutional_features
from deqlab.tasks import ImageData


def stripes(n, generator):
    """Noisy images whose class is the colour that is bright."""
    y = torch.randint(0, 3, (n,), generator=generator)
    x = torch.randn(n, 3, 16, 16, generator=generator)
    x[torch.arange(n), y] += 1
    return x.flatten(1), y


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    (x_train, y_train), (x_test, y_test) = stripes(200, generator), stripes(50, generator)
    return ImageData(
        name="stripes",
        x_train=x_train,
        y_train=y_train,
        x_test=x_test,
        y_test=y_test,
        shape=(3, 16, 16),
        num_classes=3,
        mean=0.0,
        std=1.0,
    )


def test_features_are_centred_of_unit_size_and_tell_classes_apart(data):
    found = convolutional_features(data, epochs=6)
    assert found.train.shape == (200, 256)
    assert found.test.shape == (50, 256)
    assert found.train.dtype == found.test.dtype == torch.float64
    assert found.train.mean(dim=0).abs().max() < 1e-14
    assert found.train.square().sum(dim=1).mean().item() == pytest.approx(1, abs=1e-14)
    assert found.test_accuracy > 0.9


def test_a_seed_fixes_everything_and_the_global_generator_is_left_alone(data):
    before = torch.random.get_rng_state()
    first, second = (convolutional_features(data, seed=3, epochs=1) for _ in range(2))
    assert torch.equal(first.train, second.train)
    assert torch.equal(first.test, second.test)
    assert not torch.equal(first.train, convolutional_features(data, seed=4, epochs=1).train)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_test_inputs_are_moved_by_the_numbers_of_the_training_inputs():
    train = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    x, y = centred_and_scaled(train, train + 1)
    torch.testing.assert_close(x.square().sum(dim=1).mean().item(), 1.0)
    torch.testing.assert_close(y - x, torch.full((2, 2), 5**-0.5, dtype=torch.float64))


def test_inputs_without_any_difference_are_refused():
    with pytest.raises(ValueError, match="all training inputs are the same"):
        centred_and_scaled(torch.ones(3, 2), torch.ones(1, 2))


def test_a_draw_takes_as_many_of_each_class_as_there_are_and_keeps_labels_with_inputs():
    y = torch.tensor([0] * 50 + [1] * 20 + [2] * 5)
    x = torch.stack([y.double(), torch.arange(75).double()], dim=1)
    inputs = Inputs(x_train=x, y_train=y, x_test=x, y_test=y, num_classes=3)
    drawn = draw(inputs, 10, 3, torch.Generator().manual_seed(0))
    assert drawn.y_train.bincount().tolist() == [10, 10, 5]
    assert drawn.y_test.bincount().tolist() == [3, 3, 3]
    assert drawn.x_train.dtype == torch.float32
    for k in range(3):
        of_class = drawn.x_train[drawn.y_train == k, 0]
        assert of_class.max() == of_class.min()
    assert len(drawn.x_train[:, 1].unique()) == 25  # none twice
    other = draw(inputs, 10, 3, torch.Generator().manual_seed(1))
    assert not torch.equal(drawn.y_train, other.y_train)


@pytest.mark.slow
def test_the_features_of_cifar10_are_far_better_than_its_pixels(monkeypatch):
    if not os.environ.get("DEQLAB_DATA"):
        shared = Path(__file__).parents[3] / "shared" / "data"
        if not (shared / "cifar10").is_dir():
            pytest.skip("cifar10 is not here: set DEQLAB_DATA to a folder that holds it")
        monkeypatch.setenv("DEQLAB_DATA", str(shared))
    # A linear readout of the pixels of as many images scores about 0.3.
    assert load_inputs("cifar10", 25).extractor_accuracy > 0.55
