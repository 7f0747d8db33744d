"""Configs: what their fields may be, and what is said of those that are not."""

from dataclasses import dataclass

import pytest

from deqlab.experiments.config import Config, check_increasing


@dataclass(frozen=True, kw_only=True)
class Sizes(Config):
    sizes: tuple[int, ...] = (1, 2)


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        ((), "seeds needs at least one number"),
        ((-1,), r"seeds must be 0 or more, got \[-1\]"),
        ((2**32,), r"seeds must be below 2\^32"),
        ((1, 1), "seeds must differ"),
    ],
)
def test_every_config_checks_its_seeds(seeds, sentence):
    with pytest.raises(ValueError, match=sentence):
        Sizes(seeds=seeds)


@pytest.mark.parametrize(
    ("sizes", "options", "sentence"),
    [
        ((), {}, r"sizes needs one or more increasing numbers, got \[\]"),
        ((1, 1), {}, "one or more increasing numbers"),
        ((2, 1), {}, "one or more increasing numbers"),
        ((1,), {"count": 2}, r"two or more increasing numbers, got \[1\]"),
        ((0, 1), {"least": 1}, r"one or more increasing numbers, got \[0, 1\]"),
        ((9, 20), {"least": 10}, "one or more increasing numbers of at least 10, got"),
        ((1, 17), {"least": 1, "most": 16}, "needs increasing numbers from 1 to 16, got"),
        ((0, 16), {"least": 1, "most": 16}, "needs increasing numbers from 1 to 16, got"),
    ],
)
def test_increasing_numbers(sizes, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_increasing(Sizes(sizes=sizes), "sizes", **options)


def test_increasing_numbers_within_their_bounds_pass():
    check_increasing(Sizes(sizes=(1, 16)), "sizes", least=1, most=16, count=2)
    check_increasing(Sizes(sizes=(0,)), "sizes")
