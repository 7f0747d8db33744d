"""Certificates of cells whose parametrisation is itself the proof, at any finite weights."""

import torch
from torch import nn

from deqlab.stability.certificate import Certificate


def finite_weights(cell: nn.Module) -> bool:
    """Return whether all parameters are finite: else a parametrisation promises nothing."""
    return all(bool(torch.isfinite(p).all()) for p in cell.parameters())


def not_finite(cell: nn.Module) -> Certificate:
    """Return the certificate of a cell some of whose weights are infinite or nan."""
    names = [n for n, p in cell.named_parameters() if not bool(torch.isfinite(p).all())]
    return Certificate.unknown(f"{', '.join(names)} of {type(cell).__name__} are not finite")


def monotone_by_construction(cell: nn.Module, margin: float) -> Certificate:
    """Return the certificate of z = sigma(W z + q) with I - W >= margin I at any weights."""
    if not finite_weights(cell):
        return not_finite(cell)
    return Certificate(
        theorem="I - W = m I + A'A - B + B' >= m I by parametrisation, sigma a proximal operator: "
        "one fixed point (Winston & Kolter 2020, Theorem 1 and Proposition 1)",
        holds=True,
        margin=margin,
        exists=True,
        unique=True,
        lipschitz=1 / margin,
        perturbation=margin,
    )
