"""The settings that every recipe has: how its networks are trained."""

from dataclasses import dataclass
from math import inf

from deqlab.experiments.config import Config, check_at_least, check_choice, require
from deqlab.training.policies import POLICIES


@dataclass(frozen=True, kw_only=True)
class RecipeConfig(Config):
    """What every recipe has.

    Attributes:
        arms: The networks that compete, by name, in this order; none is all that the recipe has.
        batch_size: Samples of a step.
        learning_rates: The peaks of the learning rate that are tried, by every arm alike.
        weight_decay: The weight decay of AdamW.
        clip: The largest norm of the gradient; 0 is any.
        rate: What `RateControl` aims at; 0 is no control.
        policy: What happens where the DEQ leaves its equilibrium: warn, raise, more_steps, shrink
            or stop.
        num_evaluations: How often a network is tested while it trains.
        model: MODULE:NAME of a function of yours that makes a network from the config and the
            data, as those of the arms do; it competes as one more arm, at a cost of its own.
    """

    arms: tuple[str, ...] = ()
    batch_size: int = 64
    learning_rates: tuple[float, ...] = (1e-2,)
    weight_decay: float = 0.0
    clip: float = 0.0
    rate: float = 0.5
    policy: str = "warn"
    num_evaluations: int = 5
    model: str | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "batch_size", "num_evaluations")
        check_at_least(self, 0, "weight_decay", "clip")
        require(0 <= self.rate < 1, f"rate must be 0 or more, and below 1, got {self.rate}")
        check_choice(self, "policy", POLICIES)
        require(len(self.learning_rates) > 0, "learning_rates needs at least one number")
        for rate in self.learning_rates:
            require(0 < rate < inf, f"learning_rates must be above 0, got {rate}")

    @property
    def subject(self) -> str:
        """What networks are trained on, for sentences."""
        raise NotImplementedError
