"""Boolean tasks by name: four published ones, and a linear family with a frozen bit.

    f1   x0 x1 - 1.25 x1 x2 + 1.5 x2 x0      seen where x0 x1 x2 = 1
    f2   x0 x1                               seen where x0 = 1 or x1 = 1
    f3   sum_i x_i x_{i+1} x_{i+2}, cyclic   seen where one of x0, x1, x2 is 1
    f4   majority(x0, x1, x2)                seen where x0 = 1 or x1 = 1

with n = 15 in the publication; bits that a formula does not name are noise. Source: Abbe, Bengio,
Lotfi & Rizk (2023), "Generalization on the Unseen, Logic Reasoning and Degree Curriculum".

Frozen bits (after the same, whose theorem 1 is about linear models): a linear function, of which
one bit has always the same value where it is seen. The data then says nothing about that bit's
coefficient: what a model does with it is its bias alone.
"""

from collections.abc import Sequence

from deqlab.tasks.boolean import BooleanTask, BooleanTaskError


def three_products(*, num_bits: int = 15) -> BooleanTask:
    """Return the task f1; it has at least 3 bits."""
    _check_bits(num_bits, 3)
    return BooleanTask(
        target="x0*x1 - 1.25*x1*x2 + 1.5*x2*x0", seen="x0*x1*x2 == 1", num_bits=num_bits
    )


def one_product(*, num_bits: int = 15) -> BooleanTask:
    """Return the task f2; it has at least 2 bits."""
    _check_bits(num_bits, 2)
    return BooleanTask(target="x0*x1", seen="x0 == 1 or x1 == 1", num_bits=num_bits)


def cyclic_triples(*, num_bits: int = 15) -> BooleanTask:
    """Return the task f3; it has at least 3 bits."""
    _check_bits(num_bits, 3)
    n = num_bits
    return BooleanTask(
        target=" + ".join(f"x{i}*x{(i + 1) % n}*x{(i + 2) % n}" for i in range(n)),
        seen="x0 == 1 or x1 == 1 or x2 == 1",
        num_bits=n,
    )


def majority_of_three(*, num_bits: int = 15) -> BooleanTask:
    """Return the task f4; it has at least 3 bits."""
    _check_bits(num_bits, 3)
    return BooleanTask(target="majority(x0, x1, x2)", seen="x0 == 1 or x1 == 1", num_bits=num_bits)


def frozen_bit(
    coefficients: Sequence[float] = (2.0, 1.0, 1.5, 1.0),
    *,
    bit: int = 0,
    unseen_value: int = -1,
    num_bits: int = 15,
) -> BooleanTask:
    """Return the linear task sum_i coefficients[i] x_i, unseen where a bit has a given value.

    Args:
        coefficients: The coefficients of x0, x1, ..; at most one for each bit, and the others
            have none.
        bit: The frozen bit.
        unseen_value: Its value on the unseen part, -1 or 1.
        num_bits: n.

    Raises:
        BooleanTaskError: There are fewer bits than coefficients, or the bit or its value is none.
    """
    _check_bits(num_bits, max(1, len(coefficients)))
    if not 0 <= bit < num_bits:
        raise BooleanTaskError(f"bit must be from 0 to {num_bits - 1}, got {bit}")
    if unseen_value not in (-1, 1):
        raise BooleanTaskError(f"unseen_value must be -1 or 1, got {unseen_value}")
    terms = [f"{float(c)!r}*x{i}" for i, c in enumerate(coefficients)]
    return BooleanTask(
        target=" + ".join(terms) or "0", seen=f"x{bit} == {-unseen_value}", num_bits=num_bits
    )


def _check_bits(num_bits: int, least: int) -> None:
    if num_bits < least:
        raise BooleanTaskError(f"the task needs at least {least} bits, got num_bits = {num_bits}")
