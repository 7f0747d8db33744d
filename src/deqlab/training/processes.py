"""Numbers that several processes agree on, where they train one model together.

Each process sees its own samples. What a controller or a policy decides must be decided alike
everywhere: a process that ends training alone leaves the others waiting for it.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn


def largest_of_processes(number: Tensor, model: nn.Module) -> Tensor:
    """Return the largest value that a number, (), has in any process; itself, if there is but one.

    Every process has to ask, in the same order.

    Args:
        number: The number.
        model: What is trained; its device is one that the processes exchange from.
    """
    if not (dist.is_available() and dist.is_initialized()):
        return number
    parameter = next(model.parameters(), None)
    shared = number.to("cpu" if parameter is None else parameter.device, copy=True)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return shared.to(number.device)


def least_share(share: float, model: nn.Module) -> float:
    """Return the least value that a share has in any process; see `largest_of_processes`."""
    return -largest_of_processes(torch.tensor(-share, dtype=torch.float64), model).item()
