"""Certificates of cells whose parametrisation is itself the proof, at any finite weights."""

import torch
from torch import nn

from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.monotone import strongly_monotone


def not_finite(cell: nn.Module) -> Certificate | None:
    """Return what is known of a cell whose weights are not all finite: nothing; else None."""
    names = [n for n, p in cell.named_parameters() if not bool(torch.isfinite(p).all())]
    if not names:
        return None
    return Certificate.unknown(f"{', '.join(names)} of {type(cell).__name__} are not finite")


def monotone_by_construction(cell: nn.Module, margin: float) -> Certificate:
    """Return the certificate of z = sigma(W z + q) with I - W >= margin I at any weights."""
    return not_finite(cell) or strongly_monotone(
        "I - W = m I + A'A - B + B' >= m I by parametrisation, sigma a proximal operator: one "
        "fixed point (Winston & Kolter 2020)",
        margin,
    )
