"""The settings of recipes that classify the nodes of graphs."""

from dataclasses import dataclass

from typing_extensions import override

from deqlab.experiments.config import check_at_least, check_dataset, require
from deqlab.recipes.config import RecipeConfig
from deqlab.tasks.files.sets.planetoid import GraphData

MADE = "communities"
"""The graph that needs no file; see `tasks.communities`."""


@dataclass(frozen=True, kw_only=True)
class NodesConfig(RecipeConfig):
    """What the recipes have.

    `weight_decay` is that of Adam. `rate` is above what a DEQ on a graph shows, so that control
    does nothing as long as all is well.

    Attributes:
        epochs: Steps, each on all nodes; which of them is kept is chosen on the validation nodes.
        hidden: Width of the hidden layer, and of an IGNN's state.
        dropout: In front of each layer.
    """

    weight_decay: float = 5e-4
    rate: float = 0.95
    epochs: int = 200
    hidden: int = 64
    dropout: float = 0.5
    num_evaluations: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "epochs", "hidden")
        require(0 <= self.dropout < 1, f"dropout must be in [0, 1), got {self.dropout}")


@dataclass(frozen=True, kw_only=True)
class CitationConfig(NodesConfig):
    """The fields of `cora` and `citeseer`.

    Attributes:
        dataset: A graph of `tasks`, or "communities", which is made.
        restart: The share of the prediction in each step of PageRank.
        bound: The infinity norm of an IGNN's weight, at most.
        steps: Those of APPNP.
    """

    dataset: str = "cora"
    restart: float = 0.1
    bound: float = 0.8
    steps: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_dataset(self, "dataset", GraphData, MADE)
        require(0 < self.restart <= 1, f"restart must be in (0, 1], got {self.restart}")
        require(0 < self.bound <= 1, f"bound must be in (0, 1], got {self.bound}")
        check_at_least(self, 1, "steps")

    @property
    @override
    def subject(self) -> str:
        return self.dataset


@dataclass(frozen=True, kw_only=True)
class ChainsConfig(NodesConfig):
    """The fields of `chains`.

    Attributes:
        lengths: Those of the chains; a network of its own learns each.
        num_classes: Classes.
        chains: Chains of each class.
        gamma: See `LinearGraphCell`.
        bound: See `ImplicitGraphCell`.
        tolerance: The largest entry of f(z) - z at which the published IGNN ends.
    """

    lengths: tuple[int, ...] = (10, 20, 40, 60, 80, 100, 150, 200)
    num_classes: int = 2
    chains: int = 20
    gamma: float = 0.8
    bound: float = 0.9
    tolerance: float = 3e-6
    weight_decay: float = 0.0
    hidden: int = 16
    dropout: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 2, "num_classes")
        check_at_least(self, 1, "chains")
        require(
            len(self.lengths) > 0 and min(self.lengths) >= 2,
            f"lengths needs numbers of 2 or more, got {list(self.lengths)}",
        )
        require(0 < self.gamma < 1, f"gamma must be in (0, 1), got {self.gamma}")
        require(0 < self.bound <= 1, f"bound must be in (0, 1], got {self.bound}")
        require(self.tolerance > 0, f"tolerance must be above 0, got {self.tolerance}")

    @property
    @override
    def subject(self) -> str:
        return f"chains of {self.num_classes} classes and up to {max(self.lengths)} nodes"
