"""Boolean tasks against loops over the cube in plain Python."""

import itertools
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from deqlab.tasks import boolean, gotu
from deqlab.tasks.boolean import BooleanTask, BooleanTaskError, gotu_error
from deqlab.tasks.expressions import ExpressionError

PUBLISHED = {
    gotu.three_products: (
        lambda x: x[0] * x[1] - 1.25 * x[1] * x[2] + 1.5 * x[2] * x[0],
        lambda x: x[0] * x[1] * x[2] == 1,
    ),
    gotu.one_product: (lambda x: x[0] * x[1], lambda x: 1 in (x[0], x[1])),
    gotu.cyclic_triples: (
        lambda x: sum(x[i] * x[i - 1] * x[i - 2] for i in range(len(x))),
        lambda x: 1 in x[:3],
    ),
    gotu.majority_of_three: (
        lambda x: 1 if sum(x[:3]) > 0 else -1,
        lambda x: 1 in (x[0], x[1]),
    ),
}


@pytest.mark.parametrize("make", PUBLISHED, ids=lambda make: make.__name__)
@pytest.mark.parametrize("n", [3, 4, 7])
def test_published_tasks_are_their_formulas_on_every_point(make, n):
    task = make(num_bits=n)
    target, seen = PUBLISHED[make]
    points = list(itertools.product((-1, 1), repeat=n))
    expected = {point: target(point) for point in points if not seen(point)}
    x, y = task.unseen(dtype=torch.float64)
    found = {tuple(map(int, row)): value for row, value in zip(x.tolist(), y.tolist(), strict=True)}
    assert len(x) == len(found) == task.num_unseen
    assert found == pytest.approx(expected)
    assert task.num_seen == 2**n - len(expected)
    drawn, values = task.sample(200, generator=torch.Generator().manual_seed(0))
    for row, value in zip(drawn.tolist(), values.tolist(), strict=True):
        assert seen(row)
        assert value == pytest.approx(target(row))


@pytest.mark.parametrize(
    ("make", "unseen"),
    [
        (gotu.three_products, 2**14),
        (gotu.one_product, 2**13),
        (gotu.cyclic_triples, 2**12),
        (gotu.majority_of_three, 2**13),
        (gotu.frozen_bit, 2**14),
    ],
)
def test_published_tasks_have_15_bits_and_unseen_parts_of_their_size(make, unseen):
    task = make()
    assert task.num_bits == 15
    assert task.num_unseen == unseen
    assert task.unseen()[0].shape == (unseen, 15)


@settings(deadline=None, max_examples=25)
@given(
    st.lists(st.floats(-3, 3), min_size=1, max_size=5),
    st.integers(0, 4),
    st.sampled_from([-1, 1]),
)
def test_a_frozen_bit_is_frozen_and_the_target_linear(coefficients, bit, value):
    task = gotu.frozen_bit(coefficients, bit=bit, unseen_value=value, num_bits=5)
    x, y = task.unseen(dtype=torch.float64)
    seen, _ = task.sample(20, generator=torch.Generator().manual_seed(0))
    assert (x[:, bit] == value).all()
    assert (seen[:, bit] == -value).all()
    assert task.num_unseen == 16
    full = torch.tensor(coefficients + [0.0] * (5 - len(coefficients)), dtype=torch.float64)
    torch.testing.assert_close(y, x @ full, rtol=1e-12, atol=1e-12)


def test_seen_points_are_uniform_and_follow_the_seed():
    task = BooleanTask(target="x0", seen="x0 == 1 or x1 == 1", num_bits=3)
    x, _ = task.sample(6000, generator=torch.Generator().manual_seed(0))
    counts = Counter(map(tuple, x.tolist()))
    assert len(counts) == 6
    # Each is binomial with mean 1000 and deviation 29.
    assert all(abs(count - 1000) < 5 * 29 for count in counts.values())
    again, _ = task.sample(6000, generator=torch.Generator().manual_seed(0))
    other, _ = task.sample(6000, generator=torch.Generator().manual_seed(1))
    assert torch.equal(x, again)
    assert not torch.equal(x, other)


def test_points_are_numbered_by_their_bits():
    points = torch.arange(16)
    x = boolean.bits_of(points, 4)
    assert len({tuple(row) for row in x.tolist()}) == 16
    assert torch.equal(((x + 1) / 2 @ torch.tensor([1.0, 2, 4, 8]).double()).long(), points)


def test_a_large_unseen_part_is_a_fixed_sample_of_it():
    task = BooleanTask(target="x0 + x18", seen="x0 == 1", num_bits=19)
    x, y = task.unseen()
    assert task.num_unseen == 2**18
    assert x.shape == (boolean.MOST_POINTS, 19)
    assert len(torch.unique(x, dim=0)) == len(x)
    assert (x[:, 0] == -1).all()
    assert torch.equal(y, x[:, 0] + x[:, 18])
    assert torch.equal(x, task.unseen()[0])
    # Uniform: each bit is 1 in half of the points, up to 5 deviations.
    assert (x[:, 1:].mean(dim=0).abs() < 5 / len(x) ** 0.5).all()


def test_dtype_follows():
    task = gotu.frozen_bit(num_bits=5)
    for dtype in (torch.float32, torch.float64):
        x, y = task.sample(4, generator=torch.Generator(), dtype=dtype)
        assert x.dtype == y.dtype == task.unseen(dtype=dtype)[0].dtype == dtype


def test_the_gotu_error_is_the_mean_loss_over_the_unseen_part():
    # 14 bits: more than one batch. A model that drops the frozen bit errs by 2 x0 = -2.
    task = gotu.frozen_bit((2.0, 1.0), num_bits=14)
    assert gotu_error(task.evaluate, task) == 0
    assert gotu_error(lambda x: x[:, 1], task) == pytest.approx(4)
    assert gotu_error(lambda x: x[:, 1:2], task) == pytest.approx(4)
    x, y = task.unseen()
    absolute = gotu_error(lambda x: x[:, 2], task, loss=torch.nn.functional.l1_loss)
    assert absolute == pytest.approx(float((x[:, 2] - y).abs().mean()))
    with pytest.raises(ValueError, match=r"one value per point, \(4096, 14\) became \(4096, 14\)"):
        gotu_error(lambda x: x, task)


@pytest.mark.parametrize(
    ("settings", "error", "sentence"),
    [
        ({"seen": "x0**2 == 1"}, BooleanTaskError, "on all 8 points of the cube"),
        ({"seen": "x0 == 2"}, BooleanTaskError, "on none of the 8 points of the cube"),
        ({"seen": "x0"}, ExpressionError, "is a number where a condition belongs"),
        ({"seen": "x3 == 1"}, ExpressionError, "names 'x3'"),
        ({"target": "x0 ="}, ExpressionError, "does not parse"),
        ({"target": "x3"}, ExpressionError, "names 'x3', which is none of the 3 bits"),
        ({"target": "x0 == 1"}, ExpressionError, "is a condition where a number belongs"),
        ({"num_bits": 0}, BooleanTaskError, "num_bits must be from 1 to 20, got 0"),
        ({"num_bits": 21}, BooleanTaskError, "num_bits must be from 1 to 20, got 21"),
    ],
)
def test_a_task_that_cannot_be_is_refused(settings, error, sentence):
    with pytest.raises(error, match=sentence):
        BooleanTask(**({"target": "x0*x1", "seen": "x0 == 1", "num_bits": 3} | settings))


def test_named_tasks_say_what_they_need():
    for make in (gotu.three_products, gotu.cyclic_triples, gotu.majority_of_three):
        with pytest.raises(BooleanTaskError, match="at least 3 bits, got num_bits = 2"):
            make(num_bits=2)
    with pytest.raises(BooleanTaskError, match="at least 2 bits, got num_bits = 1"):
        gotu.one_product(num_bits=1)
    with pytest.raises(BooleanTaskError, match="at least 4 bits, got num_bits = 3"):
        gotu.frozen_bit(num_bits=3)
    with pytest.raises(BooleanTaskError, match="bit must be from 0 to 14, got 15"):
        gotu.frozen_bit(bit=15)
    with pytest.raises(BooleanTaskError, match="unseen_value must be -1 or 1, got 0"):
        gotu.frozen_bit(unseen_value=0)
    with pytest.raises(ValueError, match="num_samples must be at least 1, got 0"):
        gotu.one_product(num_bits=2).sample(0, generator=torch.Generator())
