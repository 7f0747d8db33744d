"""Modules: cells, the DEQ layer, and networks put together of them."""

from deqlab.nn import cells, measurements, models
from deqlab.nn.cells import *  # noqa: F403
from deqlab.nn.closed_form import ClosedForm
from deqlab.nn.denoiser import Denoiser
from deqlab.nn.deq import DEQ
from deqlab.nn.fourier import FourierLayer
from deqlab.nn.generation import Generated, generate
from deqlab.nn.graph import Graph, blocks
from deqlab.nn.knob import Knob
from deqlab.nn.learning_rates import parameter_groups
from deqlab.nn.measurements import *  # noqa: F403
from deqlab.nn.models import *  # noqa: F403
from deqlab.nn.starts import BestOf, Learned, Noise, Zeros
from deqlab.nn.tuning import tune_alpha

__all__ = [
    "DEQ",
    "BestOf",
    "ClosedForm",
    "Denoiser",
    "FourierLayer",
    "Generated",
    "Graph",
    "Knob",
    "Learned",
    "Noise",
    "Zeros",
    "blocks",
    "generate",
    "parameter_groups",
    *cells.__all__,
    *measurements.__all__,
    *models.__all__,
    "tune_alpha",
]
