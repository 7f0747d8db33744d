"""Training is a function of its generator, and its rows are true of the network."""

import pytest
import torch

from deqlab.nn import resnet
from deqlab.nn.models import pair
from deqlab.solvers import Anderson
from deqlab.training.images import Images, Nearest, Recipe, augmented, epochs
from deqlab.training.images import tested as as_tested

RECIPE = Recipe(epochs=2, batch_size=8, learning_rate=1e-2, weight_decay=0.0)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_images(n=20, m=6):
    x, y = torch.randn(n + m, 1, 8, 8, generator=generator()), torch.arange(n + m) % 10
    return Images(x_train=x[:n], y_train=y[:n], x_test=x[n:], y_test=y[n:])


def some_deq():
    shape = pair.Shape(images=(1, 8, 8), num_classes=10)
    torch.manual_seed(0)
    return pair.deq(shape, (4, 4), Anderson(rtol=1e-3, max_steps=50))


def shifted(x, down, right):
    """x moved by pixels, with zeros where nothing was."""
    result = torch.zeros_like(x)
    height, width = x.shape[2:]
    for i in range(height):
        for j in range(width):
            if 0 <= i + down < height and 0 <= j + right < width:
                result[..., i, j] = x[..., i + down, j + right]
    return result


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_shifted_together_and_colour_images_flipped_one_by_one(channels):
    x = torch.randn(12, channels, 8, 8, generator=generator(1))
    moves = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]
    seen, flips = set(), 0
    for seed in range(12):
        found = augmented(x, generator(seed))
        straight = {m: (found == shifted(x, *m)).flatten(1).all(dim=1) for m in moves}
        mirrored = {m: (found == shifted(x.flip(3), *m)).flatten(1).all(dim=1) for m in moves}
        (move,) = (m for m in moves if (straight[m] | mirrored[m]).all())
        seen.add(move)
        flips += int(mirrored[move].sum())
    assert len(seen) > 3
    # Of 144 fair coins, 48 to 96 show heads but for one in 10,000 trials.
    assert flips == 0 if channels == 1 else 48 <= flips <= 96


def test_the_same_generator_gives_the_same_rows():
    def rows():
        found = list(epochs(some_deq(), some_images(), RECIPE, generator()))
        return [{k: v for k, v in row.items() if k != "seconds"} for row in found]

    first = rows()
    assert first == rows()
    # 20 images are two batches of 8, and 4 are left out.
    assert [(row["epoch"], row["step"]) for row in first] == [(1, 2), (2, 4)]


def test_training_lowers_the_loss():
    images = some_images()
    x = images.x_train.clone()
    y = torch.arange(len(x)) % 2
    x[y == 1, :, :, :4] += 1  # the left half is bright
    images = Images(x_train=x, y_train=y, x_test=images.x_test, y_test=images.y_test)
    recipe = Recipe(epochs=10, batch_size=10, learning_rate=2e-2, weight_decay=0.0)
    torch.manual_seed(0)
    rows = list(epochs(resnet(1, (8,), 2), images, recipe, generator()))
    assert rows[-1]["train_loss"] < 0.7 * rows[0]["train_loss"]


def test_a_deq_is_tested_at_its_equilibrium():
    model, images = some_deq(), some_images()
    row = as_tested(model, images)
    with torch.no_grad():
        right = model(images.x_test).argmax(dim=1) == images.y_test
        stem, deq, _ = model[0]
        solution = deq.solve(stem(images.x_test))
        again = deq.cell(solution.value, stem(images.x_test))
        gaps = [b - a for a, b in zip(solution.value, again, strict=True)]
    assert row["test_accuracy"] == right.double().mean().item()
    gap, size = (
        torch.cat([part.flatten(1) for part in parts], dim=1).norm(dim=1)
        for parts in (gaps, solution.value)
    )
    # float32: the residual itself is 1e-4 of the state, of which the last digits are noise.
    assert row["residual_max"] == pytest.approx((gap / size).max().item(), rel=1e-2)
    assert row["residual"] == pytest.approx((gap / size).median().item(), rel=1e-2)
    assert row["converged"] == 1.0
    assert row["residual_max"] <= 2e-3


def test_a_deq_that_ran_out_of_steps_is_not_at_its_equilibrium():
    shape = pair.Shape(images=(1, 8, 8), num_classes=10)
    model = pair.deq(shape, (4, 4), Anderson(rtol=1e-9, max_steps=2))
    row = as_tested(model, some_images())
    assert row["converged"] == 0.0
    assert row["test_evaluations"] == 2


def test_the_nearest_epoch_is_kept_and_of_equal_ones_the_later():
    model = torch.nn.Linear(1, 1, bias=False)
    nearest = Nearest(0.5)
    for epoch, accuracy in enumerate([0.25, 0.75, 0.25, 1.0], start=1):
        with torch.no_grad():
            model.weight.fill_(epoch)
        nearest.see({"epoch": epoch, "test_accuracy": accuracy}, model)
    assert nearest.row["epoch"] == 3
    assert nearest.state["weight"].item() == 3.0


def test_without_a_target_the_last_epoch_is_kept():
    nearest = Nearest(None)
    for epoch in (1, 2):
        nearest.see({"epoch": epoch, "test_accuracy": 1 / epoch}, torch.nn.Linear(1, 1))
    assert nearest.row["epoch"] == 2
