"""Random regression problems with fewer samples than features, and models to flow on them."""

import numpy as np
from hypothesis import strategies as st

from deqlab.bias import Gated, Linear, Product, Recurrent


def problem(seed, *, samples=8, features=20):
    """The data of THEORY 2.4: Gaussian inputs, targets of coefficients between 1/2 and 2."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(samples, features))
    beta = rng.uniform(0.5, 2, size=features)
    return x, x @ beta, beta


def starts(features=20):
    """Every model with a start, by name."""
    zeros, ones = np.zeros(features), np.ones(features)
    return {
        "linear": (Linear(), zeros[None]),
        "deq": (Recurrent(), zeros[None]),
        "gated deq from u = 0": (Gated(), np.stack([zeros, zeros])),
        "gated deq from u = 1": (Gated(), np.stack([zeros, ones])),
        "net from v = 0": (Product(), np.stack([0.3 * ones, zeros])),
        "net from v = u": (Product(), np.stack([0.1 * ones, 0.1 * ones])),
    }


@st.composite
def parameters(draw, model):
    """Well-posed parameters of `model`, for 4 coefficients."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    if isinstance(model, Linear):
        return rng.normal(size=(1, 4))
    w = 1 - rng.uniform(0.2, 3, size=4)
    if isinstance(model, Recurrent):
        return w[None]
    if isinstance(model, Gated):
        return np.stack([w, rng.normal(size=4)])
    # |u| > |v|: at |u| = |v| the potential has no curvature to speak of near 0.
    return np.stack([rng.uniform(1, 2, size=4), rng.uniform(-0.9, 0.9, size=4)])
