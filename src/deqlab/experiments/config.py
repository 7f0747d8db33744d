"""The settings of an experiment: the base of all configs, and checks of the domains of fields.

A config is a frozen dataclass of plain values. It checks its own fields when it is made, so that a
run never begins with settings outside of their domain.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import TypeVar

from deqlab.tasks.files.registry import DATASETS, REGISTRY, names_of, require_kind


class UsageError(ValueError):
    """The command asks for something that is not there or makes no sense."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What every config has.

    Attributes:
        seeds: One job of every arm for each of them, unless the plan says otherwise.
    """

    seeds: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        check_seeds(self.seeds)


ConfigT = TypeVar("ConfigT", bound=Config)

TEST_SEED = 2**31 - 1
"""Draws test samples; it is above all training seeds."""


def require(condition: bool, message: str) -> None:
    """Raise ValueError with `message` unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def check_seeds(seeds: Sequence[int]) -> None:
    """Raise ValueError unless `seeds` are one or more different numbers of at least 0."""
    require(len(seeds) > 0, "seeds needs at least one number")
    require(min(seeds) >= 0, f"seeds must be 0 or more, got {list(seeds)}")
    # numpy and scikit-learn take no larger ones.
    require(max(seeds) < 2**32, f"seeds must be below 2^32, got {max(seeds)}")
    require(len(set(seeds)) == len(seeds), f"seeds must differ, got {list(seeds)}")


def check_at_least(config: object, least: int, *names: str) -> None:
    """Raise ValueError unless the named numeric fields of `config` are `least` or more."""
    for name in names:
        value = getattr(config, name)
        require(least <= value < inf, f"{name} must be at least {least}, got {value}")


def check_at_most(config: object, most: int, *names: str) -> None:
    """Raise ValueError if a named field of `config`, or one of its numbers, is above `most`."""
    for name in names:
        value = getattr(config, name)
        largest = max(value) if isinstance(value, tuple) else value
        require(largest <= most, f"{name} must be at most {most}, got {largest}")


def check_positive(config: object, *names: str) -> None:
    """Raise ValueError unless the named numeric fields of `config` are above 0 and finite."""
    for name in names:
        value = getattr(config, name)
        require(0 < value < inf, f"{name} must be above 0, got {value}")


def check_choice(config: object, name: str, choices: Iterable[str]) -> None:
    """Raise ValueError unless the field `name` of `config` is one of `choices`."""
    value = getattr(config, name)
    require(value in choices, f"{name} is one of {', '.join(choices)}; got {value!r}")


def check_dataset(config: object, name: str, kind: type, *others: str) -> None:
    """Raise ValueError unless the field `name` of `config` names a data set of this type.

    Args:
        config: The config.
        name: A field that holds the name of a data set of deqlab's, of one that a package
            registers, or MODULE:NAME of one of the user's.
        kind: The type of its value.
        others: Words that are allowed too.
    """
    value = getattr(config, name)
    if value in others or value in DATASETS or not REGISTRY.knows(value):
        check_choice(config, name, (*others, *names_of(kind)))
    else:
        require_kind(value, kind)


def check_increasing(
    config: object, name: str, *, count: int = 1, least: float | int = -inf, most: float | int = inf
) -> None:
    """Raise ValueError unless the field `name` of `config` holds increasing numbers.

    Args:
        config: The config.
        name: A field that holds a tuple of numbers.
        count: How many numbers there must be, 1 or 2 at least.
        least: The smallest number that is allowed.
        most: The largest number that is allowed.
    """
    values: tuple[float, ...] = getattr(config, name)
    wanted = f"{'one' if count == 1 else 'two'} or more increasing numbers"
    if most < inf:
        wanted = f"increasing numbers from {least} to {most}"
    elif least > 1:
        wanted += f" of at least {least}"
    increasing = len(values) >= count and sorted(set(values)) == list(values)
    require(
        increasing and least <= values[0] and values[-1] <= most,
        f"{name} needs {wanted}, got {list(values)}",
    )
