"""Training of small ReLU networks, DEQs or feed-forward, on hard functions of one real input.

Adam leaves such networks at the mean of the target. Here they are fitted to rounding: by
Levenberg-Marquardt, in stages of increasing difficulty, from random weights, from an exact
construction, or by growth of one level after another. All of it is in float64. A network is a
`Network`, one matrix with its `Architecture`; `as_module` makes a torch module of it.

Example: a DEQ of width 5 learns the sawtooth with 2^3 linear regions.

    >>> import torch
    >>> from deqlab.tasks import sawtooth
    >>> generator = torch.Generator().manual_seed(0)
    >>> x = torch.rand(200, generator=generator, dtype=torch.float64)
    >>> deq = Architecture((1,) * 5, dense=True)
    >>> prepare = grow(deq, scale=lambda k: 0.5**k, candidates=16, generator=generator)
    >>> route = Route(identity(deq)).then(stage_targets(3, stages=5), prepare, candidates=16)
    >>> data = lambda k: (x, sawtooth.evaluate(x, log2_regions=k))
    >>> [stage.number for stage in route.stages(data, steps=150)]
    [1, 2, 3, 3, 3]
    >>> *_, last = route.stages(data, steps=150)
    >>> last.train_loss < 1e-20
    True
    >>> as_module(last.network)(torch.tensor([[0.25], [0.375]]).double()).round(decimals=6).tolist()
    [[0.0], [1.0]]
"""

from deqlab.expressivity.search.evaluation import Evaluation, evaluate
from deqlab.expressivity.search.growth import Neurons, add_level, grow_level
from deqlab.expressivity.search.initial import perturb, random_network
from deqlab.expressivity.search.levenberg_marquardt import (
    Fit,
    LeastSquaresModel,
    levenberg_marquardt,
)
from deqlab.expressivity.search.modules import as_deq, as_fnn, as_module, from_deq, from_fnn
from deqlab.expressivity.search.network import Architecture, Network, identity, matching_width
from deqlab.expressivity.search.readout import least_squares, refit_readout
from deqlab.expressivity.search.rescaling import rescale_input
from deqlab.expressivity.search.stages import (
    Route,
    Stage,
    grow,
    keep,
    refit,
    rescale,
    stage_targets,
)

__all__ = [
    "Architecture",
    "Evaluation",
    "Fit",
    "LeastSquaresModel",
    "Network",
    "Neurons",
    "Route",
    "Stage",
    "add_level",
    "as_deq",
    "as_fnn",
    "as_module",
    "evaluate",
    "from_deq",
    "from_fnn",
    "grow",
    "grow_level",
    "identity",
    "keep",
    "least_squares",
    "levenberg_marquardt",
    "matching_width",
    "perturb",
    "random_network",
    "refit",
    "refit_readout",
    "rescale",
    "rescale_input",
    "stage_targets",
]
