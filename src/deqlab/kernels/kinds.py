"""Which kernel is meant."""

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["conjugate", "tangent"]

Trained: TypeAlias = Literal["readout+recurrent", "all"]
"""Which weights of a DEQ a tangent kernel belongs to: all but B, or all."""


def check_kind(kind: str) -> None:
    """Raise ValueError unless `kind` names a kernel."""
    if kind not in ("conjugate", "tangent"):
        raise ValueError(f'kind is "conjugate" or "tangent", got {kind!r}')


def check_trained(trained: str) -> None:
    """Raise ValueError unless `trained` names a set of weights."""
    if trained not in ("readout+recurrent", "all"):
        raise ValueError(f'trained is "readout+recurrent" or "all", got {trained!r}')
