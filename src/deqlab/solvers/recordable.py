"""f as a tape can record it, also in inference mode."""

import torch
from torch import Tensor

from deqlab.maps.matrix_map import Bound, MatrixMap
from deqlab.solvers.loop.evaluation import Map


def recordable(f: Map) -> MatrixMap:
    """Return f, with copies of those args that were made in inference mode.

    No tape can hold such a tensor.
    """
    bound = f.f
    if not torch.is_inference_mode_enabled() or not isinstance(bound, Bound):
        return f
    with torch.inference_mode(mode=False):
        args = [
            arg.clone() if isinstance(arg, Tensor) and arg.is_inference() else arg
            for arg in bound.args
        ]
    plain = Bound(bound.f, args)

    def counted(z: Tensor) -> Tensor:
        f.evaluations += 1
        return plain(z)

    return counted
