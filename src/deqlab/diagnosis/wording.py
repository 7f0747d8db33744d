"""Numbers and samples in words."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

NAMED = 5
"""Samples that are named one by one."""


def listed(names: Sequence[object], most: int = NAMED) -> str:
    """Return names with commas between them, the first few of many."""
    shown = ", ".join(map(str, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"


def counted(count: int, what: str) -> str:
    """Return a number of things: `1 start`, `5 starts`."""
    return f"{count} {what}{'s' * (count != 1)}"


def samples(mask: Tensor, of: int | None = None) -> str:
    """Return which samples a mask marks: `3 of 8 samples (0, 4, 7)`, or all of them."""
    total, places = len(mask) if of is None else of, mask.nonzero().flatten().tolist()
    if total == 1:
        return "the one sample"
    if len(places) == total:
        return f"all {total} samples"
    return f"{len(places)} of {total} samples ({listed(places)})"


def samples_of_none(mask: Tensor) -> str:
    """Return which samples a mask marks, in a sentence that denies: `any of the 4 samples`."""
    whole = len(mask) > 1 and bool(mask.all())
    return f"any of the {len(mask)} samples" if whole else samples(mask)


def two_digits(number: float) -> str:
    """Return a large number to two digits: `380000`."""
    return f"{float(f'{number:.2g}'):.0f}"


def sample_numbers(numbers: Sequence[int]) -> str:
    """Return samples by their numbers: `sample 3`, `samples 3, 5`."""
    return f"sample{'s' if len(numbers) > 1 else ''} {listed(numbers)}"


def percent(share: float) -> str:
    """Return a share in percent, or as a power of ten where it is tiny."""
    if 0 < share < 1e-3:
        return f"{share:.0e}"
    return f"{100 * share:.{3 if share >= 1 else 2}g} %"


def seconds(value: float) -> str:
    """Return a time with its unit."""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value / 1e-6:.3g} us"


def middle(of: Tensor) -> float:
    """Return the median of what is not nan; nan if nothing is."""
    return torch.nanmedian(of.double()).item() if of.numel() else float("nan")


def worst(of: Tensor) -> tuple[int, float]:
    """Return the sample with the largest number that is not nan, and the number."""
    place = int(of.nan_to_num(nan=-torch.inf).argmax())
    return place, of[place].item()


def middle_and_worst(of: Tensor, show: Callable[[float], str]) -> str:
    """Return the median over samples and the largest number, in words; of one sample the number."""
    place, largest = worst(of)
    if len(of) == 1 or bool((of == largest).all()):
        return show(largest)
    return (
        f"{show(middle(of))} in the middle of the samples and {show(largest)} at most "
        f"(sample {place})"
    )
