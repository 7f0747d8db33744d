"""The settings of recipes that reconstruct pictures."""

from dataclasses import dataclass

import torch
from typing_extensions import override

from deqlab.experiments.config import check_at_least, check_choice, require
from deqlab.nn.measurements.base import Measurement
from deqlab.nn.measurements.blur import Blur, gaussian_kernel
from deqlab.nn.measurements.mask import Mask
from deqlab.recipes.by_steps import StepsConfig

PICTURES = ("dead-leaves", "photographs")

MISSING = 0
"""The seed of the pixels that are missing."""


@dataclass(frozen=True, kw_only=True)
class ReconstructionConfig(StepsConfig):
    """The fields of all of them.

    Attributes:
        pictures: "dead-leaves", which are made, or "photographs", the tiles of scikit-learn's two.
        size: The height and the width of a picture.
        train_size: Pictures to train on; of photographs all but those to test on are taken, and 0
            is all there are.
        test_size: Pictures to test on; as many more are kept to decide between learning rates.
        noise: The standard deviation of the noise on each number of a measurement.
        width: Channels of the denoiser.
        layers: Its convolutions.
        cap: The largest Lipschitz constant of its residual where that is capped.
        unrolled: Steps of the unrolled networks.
        rtol: To what networks are solved, in training and where they are tested.
        max_steps: In how many steps of the solver at most.
        iterations: After how many iterations trained networks are asked for their pictures.
    """

    batch_size: int = 8
    learning_rates: tuple[float, ...] = (5e-3, 2e-2)
    weight_decay: float = 0.0
    rate: float = 0.5
    pictures: str = "photographs"
    size: int = 24
    train_size: int = 0
    test_size: int = 60
    noise: float = 0.01
    width: int = 16
    layers: int = 3
    cap: float = 0.95
    steps: int = 600
    warmup: int = 20
    unrolled: int = 10
    rtol: float = 1e-4
    max_steps: int = 100
    iterations: tuple[int, ...] = (5, 10, 20, 50, 100, 200)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "pictures", PICTURES)
        check_at_least(self, 1, "test_size", "width", "unrolled")
        check_at_least(self, 0, "train_size", "noise")
        check_at_least(self, 2, "layers")
        require(self.cap > 0, f"cap must be more than 0, got {self.cap}")
        require(0 < self.rtol < 1, f"rtol must lie between 0 and 1, got {self.rtol}")
        require(
            self.pictures == "photographs" or self.train_size > 0,
            "train_size must be 1 or more where pictures are made",
        )
        require(
            len(self.iterations) > 0 and min(self.iterations) >= 1,
            f"iterations needs numbers of 1 or more, got {list(self.iterations)}",
        )

    def measurement(self) -> Measurement:
        """Return what pictures are measured by."""
        raise NotImplementedError

    @property
    @override
    def subject(self) -> str:
        return f"{self.pictures.replace('-', ' ')} {self.loss_of_pictures}"

    @property
    def loss_of_pictures(self) -> str:
        """What the measurement does to pictures, for sentences."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class DeblurConfig(ReconstructionConfig):
    """The fields of `deblur`.

    Attributes:
        kernel: The odd size of the blur.
        std: The standard deviation of its Gaussian, in pixels.
    """

    kernel: int = 5
    std: float = 5.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "kernel")
        require(self.std > 0, f"std must be more than 0, got {self.std}")
        require(
            self.kernel % 2 == 1 and self.kernel <= self.size,
            f"kernel must be odd and no larger than the picture of {self.size} pixels, got "
            f"{self.kernel}",
        )

    @override
    def measurement(self) -> Measurement:
        return Blur(gaussian_kernel(self.kernel, self.std))

    @property
    @override
    def loss_of_pictures(self) -> str:
        return f"under a blur of {self.kernel} x {self.kernel} pixels"


@dataclass(frozen=True, kw_only=True)
class InpaintingConfig(ReconstructionConfig):
    """The field of `inpainting`.

    Attributes:
        missing: The share of the pixels that are not measured, the same ones in all pictures.
    """

    missing: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.missing < 1, f"missing must lie between 0 and 1, got {self.missing}")

    @override
    def measurement(self) -> Measurement:
        pixels = self.size**2
        order = torch.randperm(pixels, generator=torch.Generator().manual_seed(MISSING))
        measured = order >= round(self.missing * pixels)
        return Mask(measured.view(self.size, self.size))

    @property
    @override
    def loss_of_pictures(self) -> str:
        return f"of which {self.missing:.0%} of the pixels are missing"
