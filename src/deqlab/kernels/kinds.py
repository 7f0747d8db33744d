"""Which kernel is meant."""

from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["conjugate", "tangent"]

Trained: TypeAlias = Literal["readout+recurrent", "all"]
"""Which weights of a DEQ a tangent kernel belongs to: all but B, or all."""


def check_kind(kind: str) -> None:
    """Raise ValueError unless `kind` names a kernel."""
    if kind not in ("conjugate", "tangent"):
        raise ValueError(f'kind is "conjugate" or "tangent", got {kind!r}')


def check_trained(trained: str | None) -> None:
    """Raise ValueError unless `trained` names a set of weights."""
    if trained not in ("readout+recurrent", "all"):
        raise ValueError(
            'trained is "readout+recurrent", as published, or "all", whose tangent kernel is '
            f"another by about a half; got {trained!r}"
        )
