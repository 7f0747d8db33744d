"""What `auto` is made of, on the host and on a device: levels, groups, and when a row is slow."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.linalg.arrays import Array, larger, logarithm, smaller, zeros_like
from deqlab.solvers.base import Solver
from deqlab.solvers.loop.compaction import take_rows
from deqlab.solvers.loop.criterion import Look
from deqlab.solvers.loop.evaluation import CountedMap, Iterate

PICARD, ANDERSON, NEWTON = range(3)
"""The level of a row: the method that it goes on by."""

PROBE = 3
"""Evaluations after which a rate is believed; one that grows is believed at once."""


@dataclass
class Group:
    """Rows that go on by one method."""

    rows: np.ndarray  # their places in the batch
    method: Solver[Any]
    memory: Any


def regrouped(groups: Sequence[Group], rows: np.ndarray, size: int) -> list[Group]:
    """Return the groups where only these rows of a batch of this size stay, in their order."""
    place = np.full(size, -1)
    place[rows] = np.arange(len(rows))
    found = []
    for group in groups:
        stay = np.flatnonzero(place[group.rows] >= 0)
        if len(stay):
            memory = take_rows(group.memory, stay)
            found.append(Group(place[group.rows[stay]], group.method, memory))
    return found


def slow(look: Look, last: Array, count: int, promise: int) -> Array:
    """Return which rows Picard iteration does not bring to the end in `promise` steps.

    Asked now and then only, for one bad step is no rate.

    Args:
        look: The iterate, measured.
        last: The measure of the one before.
        count: Its number, counted from 1.
        promise: The steps.
    """
    if count > PROBE and count % promise:
        return zeros_like(look.within)
    rate = look.measure / last
    if count < PROBE:
        return rate >= 1
    # rate^n measure = what is allowed
    distance = logarithm(larger(look.measure / look.allowed, 1.0))
    return ~(distance <= -promise * logarithm(smaller(rate, 1.0)))


def advance(
    group: Group, f: CountedMap, iterate: Iterate, z_next: Float[Tensor, "B D"]
) -> Float[Tensor, "B D"]:
    """Return `z_next` with one step of the group in its rows."""
    if len(group.rows) == len(iterate.z):
        step, group.memory = group.method.step(f, iterate, group.memory)
        return step
    some, part = iterate.take_rows(group.rows), f.part(group.rows, iterate.z)
    step, group.memory = group.method.step(part, some._replace(tell=None), group.memory)
    return z_next.index_copy(0, torch.from_numpy(group.rows).to(z_next.device), step)
