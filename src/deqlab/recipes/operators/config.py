"""The settings of recipes of neural operators."""

from dataclasses import dataclass

from typing_extensions import override

from deqlab.experiments.config import check_at_least, check_positive, require
from deqlab.recipes.by_steps import StepsConfig


@dataclass(frozen=True, kw_only=True)
class DarcyConfig(StepsConfig):
    """The fields of `darcy`.

    Attributes:
        size: Points along each side of a field.
        train_size: Fields to train on.
        test_size: Fields to test on; as many more are kept to decide between learning rates.
        channels: Of the state.
        modes: Fourier modes each way; see `FourierCell`.
        cell_layers: Fourier layers inside of f.
        gain: Of the feedback at the start.
        highest: The largest gain.
        certified: The gain of the DEQ that contracts by construction, below 1.
        layers: Of the explicit networks.
        rtol: To what networks are solved, in training and where they are tested.
        max_steps: In how many steps of the solver at most.
        pictures: How many of the test fields are shown.
    """

    batch_size: int = 16
    learning_rates: tuple[float, ...] = (5e-3, 1e-2)
    weight_decay: float = 1e-4
    rate: float = 0.7
    steps: int = 800
    warmup: int = 20
    size: int = 29
    train_size: int = 1000
    test_size: int = 200
    channels: int = 16
    modes: int = 8
    cell_layers: int = 2
    gain: float = 1.0
    highest: float = 8.0
    certified: float = 0.9
    layers: int = 4
    rtol: float = 1e-3
    max_steps: int = 60
    pictures: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 3, "size")
        check_at_least(self, 1, "train_size", "test_size", "channels", "modes", "pictures")
        check_at_least(self, 1, "cell_layers", "layers")
        check_positive(self, "highest")
        require(
            2 * self.modes - 1 <= self.size,
            f"modes must be at most {(self.size + 1) // 2} on {self.size} x {self.size} points, "
            f"got {self.modes}",
        )
        require(
            0 <= self.gain <= self.highest,
            f"gain must lie between 0 and highest = {self.highest}, got {self.gain}",
        )
        require(0 < self.certified < 1, f"certified must be below 1, got {self.certified}")
        require(0 < self.rtol < 1, f"rtol must lie between 0 and 1, got {self.rtol}")
        require(
            self.pictures <= self.test_size,
            f"pictures must be at most test_size = {self.test_size}, got {self.pictures}",
        )

    @property
    @override
    def subject(self) -> str:
        return f"Darcy flow on {self.size} x {self.size} points"
