"""The readout of a network, which is linear: the best one solves a least-squares problem.

    min over c of |c' F - y|^2 / N + 1e-10 |c|^2

with a row of F for each feature that the output reads, and a column for each point.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.expressivity.search.evaluation import Evaluation
from deqlab.expressivity.search.network import Network

RIDGE = 1e-10
"""The weight of |c|^2, for features that are constant or equal."""


def least_squares(
    features: Float[Tensor, "C f N"], target: Float[Tensor, " N"]
) -> Float[Tensor, "C f"]:
    """Return the combinations of features that are closest to the target, one for each batch."""
    gram = features @ features.mT / len(target)
    gram = gram + RIDGE * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    found: Tensor = torch.linalg.solve(gram, features @ target / len(target))
    return found


def refit_readout(network: Network, x: Float[Tensor, " N"], target: Float[Tensor, " N"]) -> Network:
    """Return the network with the readout that fits best; its neurons stay as they are.

    Args:
        network: The network.
        x: The training points.
        target: What the output should be there.
    """
    architecture = network.architecture
    # The readout enters linearly: the derivatives by its weights are what it reads.
    _, j = Evaluation(architecture, x).jacobian(network.weights)
    features = j[architecture.entries[0] == architecture.num_neurons]
    a = network.matrix.clone()
    a[-1, architecture.mask[-1]] = least_squares(features[None], target)[0]
    return Network(architecture, a)
