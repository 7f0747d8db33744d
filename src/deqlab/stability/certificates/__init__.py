"""Theorems that make z = f(z, x) well-posed, each a function of the weights, and who is asked."""

from deqlab.stability.certificates.asking import certify
from deqlab.stability.certificates.lipschitz_inequality import lipschitz_inequality
from deqlab.stability.certificates.matrices import matrix_of
from deqlab.stability.certificates.monotone import monotone
from deqlab.stability.certificates.norms import infinity_norm, one_norm, two_norm
from deqlab.stability.certificates.perron_frobenius import metzler, perron_frobenius
from deqlab.stability.certificates.strongest import best_certificate, every_certificate
from deqlab.stability.certificates.triangular import diagonal, triangular

__all__ = [
    "best_certificate",
    "certify",
    "diagonal",
    "every_certificate",
    "infinity_norm",
    "lipschitz_inequality",
    "matrix_of",
    "metzler",
    "monotone",
    "one_norm",
    "perron_frobenius",
    "triangular",
    "two_norm",
]
