"""Maps of which is known what ails them, and what a diagnosis must say first."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from deqlab import JacobianFree
from tests.problems import F64, normal, rotation

X = normal(4, 2, seed=0)
LINE = torch.linspace(-1, 1, 4, dtype=F64)[:, None]
SHEAR = torch.tensor([[0.995, 0.0], [0.0, -0.3]], dtype=F64)


@dataclass(frozen=True)
class Planted:
    """A map, its inputs, and the truth."""

    f: Any
    inputs: tuple[Any, ...]
    name: str  # of the first finding
    says: str  # a pattern of its sentence
    options: dict[str, Any] = field(default_factory=dict)


def runs_off(z, x):
    return z + torch.exp(-z)  # |f(z) - z| becomes as small as one likes


def two_wells(z, x):
    return torch.tanh(2 * z) + 0 * x  # 0 repels; +-0.957504... attract


def root(z, x):
    return 0.5 * torch.tanh(z) + torch.sqrt(x + 3)


def drawn_by_torch(z, x):
    return 0.5 * torch.tanh(z) + x + 0.01 * torch.randn_like(z)


def drawn_by_numpy(z, x):
    return 0.5 * torch.tanh(z) + x + float(np.random.standard_normal())


def normalised():
    norm = nn.BatchNorm1d(2, dtype=F64)
    return lambda z, x: 0.3 * torch.tanh(norm(z + x))


PLANTED = {
    "no fixed point": Planted(
        lambda z, x: z + 1 + 0 * x,
        (X,),
        "no-fixed-point",
        "any of the 4 samples: from 1 start neither",
    ),
    "no fixed point, and a residual that tends to 0": Planted(
        runs_off, (X,), "no-fixed-point", "iterates run off"
    ),
    "two attracting fixed points": Planted(
        two_wells,
        (LINE,),
        "several-fixed-points",
        "5 starts found 3 of one sample, of which 2 attract",
        {"starts": 4},
    ),
    "an unstable one": Planted(
        lambda z, x: 2 * z + x, (X,), "repelling", "unstable.*all 4 samples.*radius of J is 2 "
    ),
    "rotation of radius .9": Planted(
        lambda z, x: z @ rotation(1.2, scale=0.9).T + x,
        (X,),
        "rotation",
        "turns by 69 degrees.*modulus 0.9 .*about 110 steps",
    ),
    "slow contraction": Planted(
        lambda z, x: z @ SHEAR + x, (X,), "slow-contraction", "modulus 0.995 .*200 times"
    ),
    "nan for one input": Planted(
        root,
        (torch.tensor([[0.1], [1.0], [-5.0], [2.0]], dtype=F64),),
        "not-finite",
        "for sample 2 of 4, at the start already.*reaches 5,",
    ),
    "bias by one-step gradient": Planted(
        lambda z, x: 0.8 * z + x,
        (X,),
        "gradient-bias",
        "error of JacobianFree is 80 %",
        {"gradient": JacobianFree()},
    ),
    "batch norm in f": Planted(
        normalised(), (X,), "batch-norm", "batch: BatchNorm1d.*couples the rows"
    ),
    "coupled rows": Planted(
        lambda z, x: 0.5 * torch.tanh(z.roll(1, dims=0)) + x,
        (X,),
        "coupled-rows",
        "moving row 0 changes f in row 1.*felt by 1 of the 3 others",
    ),
    "z detached": Planted(
        lambda z, x: torch.tanh(0.8 * z.detach() + x),
        (X,),
        "wrong-derivative",
        "J by autograd is not.*all 4 samples",
    ),
    "z ignored": Planted(lambda z, x: 2 * x, (X,), "explicit", "does not depend on z"),
    "non-deterministic, by torch": Planted(
        drawn_by_torch, (X,), "random", "not deterministic.*draws random numbers"
    ),
    "non-deterministic, by numpy": Planted(
        drawn_by_numpy, (X,), "not-repeatable", "not deterministic: two evaluations"
    ),
}
