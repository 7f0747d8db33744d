"""What is proved of the DEQ layers of a network, as rows of a run."""

from dataclasses import asdict

from torch import nn

from deqlab.experiments.base import Row
from deqlab.stability.certificate import Certificate
from deqlab.stability.certificates.asking import certify


def certificates(model: nn.Module, when: str) -> list[Row]:
    """Return what is proved of each DEQ layer, as rows, without what no theorem speaks of."""
    return [
        {
            "kind": "certificate",
            "when": when,
            "layer": name,
            "proved": _in_words(found),
            **{
                field: value
                for field, value in asdict(found).items()
                if value is not None and value == value
            },
        }
        for name, found in certify(model).items()
    ]


def _in_words(found: Certificate) -> str:
    if found.unique:
        return "one fixed point"
    return "a fixed point exists" if found.exists else "nothing"
