"""The options of torchdeq on a command line."""

import argparse
from dataclasses import fields
from typing import Any

from deqlab.compat.torchdeq.options import Options

BESIDE: dict[str, Any] = {
    "norm_type": "weight_norm",
    "norm_no_scale": False,
    "norm_clip": False,
    "norm_clip_value": 1.0,
    "norm_target_norm": 1.0,
    "sn_n_power_iters": 1,
    "gamma": 0.8,
    "jac_loss_weight": 0.0,
    "jac_loss_freq": 0.0,
    "jac_incremental": 0,
    "sradius_mode": False,
}
"""Options that `get_deq` does not read, with their defaults."""


def add_deq_args(parser: argparse.ArgumentParser) -> None:
    """Give a parser of a command line the options of torchdeq, with its defaults."""
    own = {field.name: field.default for field in fields(Options) if field.name != "no_stat"}
    for name, default in (own | BESIDE | {"grad": (1,)}).items():
        if isinstance(default, tuple):
            parser.add_argument(f"--{name}", type=int, nargs="+", default=list(default))
        elif isinstance(default, bool):
            parser.add_argument(f"--{name}", action="store_true")
        else:
            parser.add_argument(f"--{name}", type=type(default), default=default)
