"""Modules: cells, the DEQ layer, and networks put together of them."""

from deqlab.nn import cells, models
from deqlab.nn.cells import *  # noqa: F403
from deqlab.nn.deq import DEQ
from deqlab.nn.knob import Knob
from deqlab.nn.learning_rates import parameter_groups
from deqlab.nn.models import *  # noqa: F403
from deqlab.nn.tuning import tune_alpha

__all__ = ["DEQ", "Knob", "parameter_groups", *cells.__all__, *models.__all__, "tune_alpha"]
