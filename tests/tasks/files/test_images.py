"""The image sets as tensors: shapes, classes, standardisation, and the very bytes."""

import hashlib
import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from deqlab.tasks import DataError, load

SHAPES = {
    # name: (training images, test images, shape)
    "digits": (1437, 360, (1, 8, 8)),
    "mnist": (60_000, 10_000, (1, 28, 28)),
    "fashion_mnist": (60_000, 10_000, (1, 28, 28)),
    "cifar10": (3200, 800, (3, 32, 32)),
}


@pytest.fixture(scope="module", params=SHAPES)
def data(request):
    if request.param == "digits":
        return load("digits")
    fixture = "real_cifar10" if request.param == "cifar10" else "real_data"
    folder = request.getfixturevalue(fixture)
    return load(request.param, data_dir=folder, download=False)


def test_shapes_and_types(data):
    num_train, num_test, shape = SHAPES[data.name]
    num_pixels = math.prod(shape)
    assert data.shape == shape
    assert data.x_train.shape == (num_train, num_pixels)
    assert data.x_test.shape == (num_test, num_pixels)
    assert data.y_train.shape == (num_train,)
    assert data.y_test.shape == (num_test,)
    assert data.x_train.dtype == data.x_test.dtype == torch.float32
    assert data.y_train.dtype == data.y_test.dtype == torch.int64


def test_every_class_is_there_and_no_other(data):
    assert data.num_classes == 10
    assert data.y_train.unique().tolist() == data.y_test.unique().tolist() == list(range(10))


def test_the_training_pixels_are_standardised_and_the_test_pixels_by_the_same_numbers(data):
    std, mean = torch.std_mean(data.x_train, correction=0)
    # Float32 rounds each pixel by 1e-7, the mean of many by far less.
    assert abs(mean) < 1e-6
    assert abs(std - 1) < 1e-6
    pixels = data.x_test[:1000].double() * data.std + data.mean
    steps = 16 if data.name == "digits" else 255
    assert torch.allclose(pixels * steps, (pixels * steps).round(), rtol=0, atol=1e-4)
    assert pixels.min() == pytest.approx(0, abs=1e-6)
    assert pixels.max() == pytest.approx(1, abs=1e-6)


def test_mean_and_std_are_the_published_ones(data):
    # MNIST in PyTorch's examples, Fashion-MNIST in Zalando's repository; to their digits.
    published = {"mnist": (0.1307, 0.3081), "fashion_mnist": (0.2860, 0.3530)}
    if data.name in published:
        assert (data.mean, data.std) == pytest.approx(published[data.name], abs=5e-5)


def test_classes_are_counted_as_published(data):
    counts = {
        "digits": [178, 182, 177, 183, 181, 182, 181, 179, 174, 180],  # with the test images
        "mnist": [6903, 7877, 6990, 7141, 6824, 6313, 6876, 7293, 6825, 6958],
        "fashion_mnist": [7000] * 10,
        "cifar10": [396, 366, 420, 384, 422, 393, 414, 385, 407, 413],  # of the first 4,000
    }
    both = torch.cat([data.y_train, data.y_test])
    assert both.bincount().tolist() == counts[data.name]
    first = {
        "mnist": [5, 0, 4, 1, 9, 2, 1, 3, 1, 4],
        "fashion_mnist": [9, 0, 0, 3, 0, 2, 7, 2, 5, 5],
    }
    if data.name in first:
        assert data.y_train[:10].tolist() == first[data.name]


def test_images_and_labels_belong_together(data):
    # A linear fit to 1,000 images finds most of 1,000 others; chance would be a tenth, and is
    # not far off for photographs.
    x = torch.cat([data.x_train[:1000], torch.ones(1000, 1)], dim=1).double()
    target = torch.nn.functional.one_hot(data.y_train[:1000], 10).double()
    gram = x.T @ x + 100 * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, x.T @ target)
    x_test, y_test = data.x_test[:1000], data.y_test[:1000]
    guess = (torch.cat([x_test, torch.ones(len(x_test), 1)], dim=1).double() @ weights).argmax(1)
    expected = 0.2 if data.name == "cifar10" else 0.7
    assert (guess == y_test).double().mean() > expected


def test_digits_are_those_of_scikit_learn_each_in_one_part():
    data, bundled = load("digits"), load_digits()
    x = torch.cat([data.x_train, data.x_test]).double() * data.std + data.mean
    y = torch.cat([data.y_train, data.y_test])
    pixels = (x * 16).round().to(torch.int64).numpy()
    rows = np.column_stack([pixels, y.numpy()])
    expected = np.column_stack([bundled.data.astype(np.int64), bundled.target])
    assert sorted(rows.tolist()) == sorted(expected.tolist())


def test_digits_are_split_by_class():
    data = load("digits")
    share = data.y_test.bincount() / (data.y_test.bincount() + data.y_train.bincount())
    # Of 174 to 183 images of a class, a fifth, to the nearest image.
    assert ((share - 360 / 1797).abs() < 1 / 174).all()


def test_the_split_of_digits_never_changes():
    # Digest of the test labels and pixels, in order: a different split is different data.
    data = load("digits")
    pixels = ((data.x_test.double() * data.std + data.mean) * 16).round().to(torch.uint8)
    digest = hashlib.sha256(pixels.numpy().tobytes() + data.y_test.numpy().tobytes())
    assert digest.hexdigest()[:16] == "3ea49a6c5c1f0810"


def test_digits_leave_the_global_generators_alone():
    np.random.seed(0)
    before = np.random.get_state()[2], torch.random.get_rng_state()
    load("digits")
    assert np.random.get_state()[2] == before[0]
    assert torch.equal(torch.random.get_rng_state(), before[1])


def test_absent_and_offline_is_one_sentence(cache):
    message = (
        r"^mnist is not on this machine \(looked in .*/mnist\) and train-images-idx3-ubyte\.gz "
        r"could not be downloaded \(ossci-datasets\.s3\.amazonaws\.com: .*offline.*; "
        r"storage\.googleapis\.com: .*\); put train-images-idx3-ubyte\.gz, .* into .*/mnist, "
        r"or point --data-dir or DEQLAB_DATA at a folder that holds mnist/$"
    )
    with pytest.raises(DataError, match=message):
        load("mnist", progress=False)
    assert not cache.exists()


def test_a_misspelt_name_is_answered_with_the_right_one():
    with pytest.raises(DataError, match="no data set named 'fashion-mnist'; did you mean"):
        load("fashion-mnist")
