"""The settings of `picture`."""

from dataclasses import dataclass

from typing_extensions import override

from deqlab.experiments.config import check_at_least, check_choice, check_positive, require
from deqlab.recipes.by_steps import StepsConfig

PICTURES = ("china", "flower", "camera", "dead-leaves")


@dataclass(frozen=True, kw_only=True)
class PictureConfig(StepsConfig):
    """The fields of `picture`.

    Attributes:
        batch_size: Pixels of a step; all of them, if there are fewer. Whole epochs are taken: the
            last may have some steps beyond `steps`.
        picture: "china" or "flower", scikit-learn's photographs, "camera", scikit-image's, or
            "dead-leaves", which is made.
        size: Its height and width, from 8 on.
        layers: Of the explicit networks, 2 or more.
        width: Numbers in each layer of the one that the DEQ is to come near to.
        deq_width: Numbers in the state of the DEQ at a pixel.
        scale: How high the first frequencies of all networks are, see `nn.cells.coordinates`.
        cap: The norm that the feedback of the DEQ has at most. Below 1 no control is needed, and
            `rate` is 0.
        steps_of_phantom: Of the inexact gradient.
        rtol: To what networks are solved, in training and where they are tested.
        max_steps: In how many steps at most.
    """

    batch_size: int = 4096
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)
    weight_decay: float = 0.0
    clip: float = 0.0
    rate: float = 0.0
    num_evaluations: int = 8
    steps: int = 2000
    warmup: int = 50
    picture: str = "china"
    size: int = 128
    layers: int = 4
    width: int = 64
    deq_width: int = 56
    scale: float = 30.0
    cap: float = 0.97
    steps_of_phantom: int = 5
    rtol: float = 1e-3
    max_steps: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "picture", PICTURES)
        check_at_least(self, 8, "size")
        check_at_least(self, 2, "layers")
        check_at_least(self, 1, "width", "deq_width", "steps_of_phantom")
        check_positive(self, "scale", "cap")
        require(0 < self.rtol < 1, f"rtol must lie between 0 and 1, got {self.rtol}")

    @property
    @override
    def subject(self) -> str:
        what = self.picture.replace("-", " ")
        return f"the picture {what!r} of {self.size} x {self.size} pixels"
