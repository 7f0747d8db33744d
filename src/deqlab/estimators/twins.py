"""Explicit networks that cost what a DEQ costs: as many parameters, or FLOPs of a training step."""

from functools import partial
from itertools import count

import torch
from torch import nn

from deqlab.arguments import check_kind
from deqlab.costs import num_parameters
from deqlab.estimators.base import TableClassifier, TableEstimator
from deqlab.estimators.equilibrium import DEQClassifier, DEQRegressor
from deqlab.estimators.explicit import ExplicitClassifier, ExplicitRegressor
from deqlab.nn.models.mlp import mlp
from deqlab.nn.models.twins import size_of_equal_flops, size_of_equal_parameters, training_flops

LAYERS = 2
"""Hidden layers of a twin. A cell has two weights, U and W, and a twin of its size two layers."""


def twin(fitted: TableEstimator, equal: str) -> ExplicitClassifier | ExplicitRegressor:
    """Return the explicit network of a fitted DEQ, not fitted, with the same settings of training.

    It has two hidden layers of one width, as many parameters as the DEQ, or as many FLOPs in a
    step of training, those of the DEQ counted with all evaluations and its adjoint.

    Args:
        fitted: The DEQ.
        equal: What is equal, "parameters" or "flops".

    Raises:
        TypeError: `fitted` is no DEQ.
        ValueError: `equal` is neither.
    """
    check_kind("fitted", fitted, DEQClassifier, DEQRegressor, example="DEQClassifier().fit(x, y)")
    width = twin_width(fitted, equal)
    own = {"width", "bound", "rtol"}
    settings = {name: value for name, value in fitted.get_params().items() if name not in own}
    kind = ExplicitClassifier if isinstance(fitted, TableClassifier) else ExplicitRegressor
    return kind(hidden=(width,) * LAYERS, **settings)


def twin_width(fitted: TableEstimator, equal: str) -> int:
    """Return the width of both hidden layers of the twin; see `twin`."""
    num_outputs = len(fitted.classes_) if isinstance(fitted, TableClassifier) else 1
    make = partial(_explicit, fitted.n_features_in_, num_outputs)
    if equal == "parameters":
        return size_of_equal_parameters(make, num_parameters(fitted.module_), count(1))
    if equal != "flops":
        raise ValueError(f'equal is "parameters" or "flops", got {equal!r}')
    x, y = _batch(fitted)
    return size_of_equal_flops(make, flops_per_step(fitted), count(1), x, y)


def flops_per_step(fitted: TableEstimator) -> int:
    """Return the FLOPs of a step of training on a batch, of a fitted network as it is."""
    return training_flops(fitted.module_.body, *_batch(fitted))


def _batch(fitted: TableEstimator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch of standard normal features; only the evaluations of a DEQ depend on them."""
    generator = torch.Generator().manual_seed(0)
    shape = (fitted.batch_size, fitted.n_features_in_)
    x = torch.randn(shape, generator=generator, dtype=torch.float64)
    return x, torch.zeros(fitted.batch_size, dtype=torch.int64)


def _explicit(num_inputs: int, num_outputs: int, width: int) -> nn.Module:
    return mlp([num_inputs, *(width,) * LAYERS, num_outputs]).double()
