"""Kernels of wide networks: exact, in high dimension, of finite width, and matched to each other.

The kernels for scikit-learn are in `deqlab.kernels.estimator`.
"""

from deqlab.kernels.coefficients import Coefficients
from deqlab.kernels.empirical import Estimate, empirical_conjugate, empirical_tangent
from deqlab.kernels.equivalents import equivalent
from deqlab.kernels.explicit import ExplicitKernel
from deqlab.kernels.implicit import ImplicitKernel
from deqlab.kernels.lowrank import LowRankPlusIdentity
from deqlab.kernels.matching import NoMatchError, match_explicit, mismatch
from deqlab.kernels.mixture import ClassStatistics, GaussianMixture
from deqlab.kernels.network import ExplicitNetwork, ImplicitNetwork

__all__ = [
    "ClassStatistics",
    "Coefficients",
    "Estimate",
    "ExplicitKernel",
    "ExplicitNetwork",
    "GaussianMixture",
    "ImplicitKernel",
    "ImplicitNetwork",
    "LowRankPlusIdentity",
    "NoMatchError",
    "empirical_conjugate",
    "empirical_tangent",
    "equivalent",
    "match_explicit",
    "mismatch",
]
