"""What a theorem says of a map f(., x), for every x: a certificate.

A measurement says what was seen at one point; a certificate says what cannot happen. "Unknown" is
an answer: no theorem that was tried applies, and the map may be well-posed all the same.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True, kw_only=True)
class Certificate:
    """What is proved of a map.

    Attributes:
        theorem: Which theorem proves it, with its source; or, where none does, which condition
            failed.
        holds: Whether its condition holds, and so whether anything is proved. False means unknown,
            not ill-posed; then nothing below but the margin is said.
        margin: By how much the condition holds, in its own units: more than 0 where it does. nan if
            there is nothing to measure.
        exists: Whether a fixed point exists for every x.
        unique: Whether there is only one.
        rate: A bound on the factor by which plain iteration comes closer to it in one step, in some
            norm that `theorem` names; None where nothing bounds it.
        lipschitz: A bound on |z*(q) - z*(q')| / |q - q'| in the Euclidean norm, where q is what f
            adds to the feedback (U x + b); None where nothing bounds it.
        perturbation: The condition survives every change of the weights whose spectral norm is
            below this; None where that is not known.
    """

    theorem: str
    holds: bool
    margin: float = float("nan")
    exists: bool = False
    unique: bool = False
    rate: float | None = None
    lipschitz: float | None = None
    perturbation: float | None = None

    def __str__(self) -> str:
        """Return what is proved in a few lines, for people; `repr` has the fields."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        if self.unique:
            yield "Proved for every input: there is exactly one fixed point."
        elif self.exists:
            yield "Proved for every input: a fixed point exists. There may be others."
        else:
            yield "Nothing is proved. The map may be well-posed all the same."
        yield f"{'Theorem' if self.holds else 'Reason'}: {self.theorem}."
        if not math.isnan(self.margin):
            yield f"Margin of the condition: {self.margin:.4g}."
        if not self.holds:
            return
        if self.perturbation is not None:
            yield (
                "Still proved after any change of the weights whose spectral norm is below "
                f"{self.perturbation:.4g}."
            )
        if self.lipschitz is not None:
            yield (
                f"Lipschitz bound: z* moves by at most {self.lipschitz:.4g} times what is added to "
                "the feedback (U x + b)."
            )
        yield (
            "Rate of plain iteration: not bounded by this theorem."
            if self.rate is None
            else f"Rate of plain iteration: at most {self.rate:.4g} a step."
        )

    def __post_init__(self) -> None:
        if not self.holds and (self.exists or self.unique):
            raise ValueError(
                "a certificate whose condition does not hold proves nothing, got exists="
                f"{self.exists}, unique={self.unique} with holds=False: name the theorem that holds"
            )

    @classmethod
    def unknown(cls, reason: str, margin: float = float("nan")) -> "Certificate":
        """Return the certificate of a map about which nothing is proved, for this reason.

        Args:
            reason: Which condition failed.
            margin: By how much, 0 or less; nan if there is nothing to measure.
        """
        return cls(theorem=reason, holds=False, margin=margin)


def weights_not_finite(cell: nn.Module) -> Certificate | None:
    """Return what is known of a cell whose weights are not all finite: nothing; else None."""
    names = [n for n, p in cell.named_parameters() if not bool(torch.isfinite(p).all())]
    if not names:
        return None
    return Certificate.unknown(f"{', '.join(names)} of {type(cell).__name__} are not finite")
