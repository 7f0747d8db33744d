"""The settings of a recipe for language."""

from dataclasses import dataclass

from typing_extensions import override

from deqlab.experiments.config import check_at_least, check_choice, check_positive, require
from deqlab.recipes.by_steps import StepsConfig

TOKENS = ("characters", "byte-pairs")


@dataclass(frozen=True, kw_only=True)
class LanguageConfig(StepsConfig):
    """The fields of the recipes, whose defaults are those of nanoGPT on a CPU (Karpathy 2022).

    Attributes:
        text: A text that `deqlab data` lists, or the path of a text file in UTF-8.
        tokens: "characters" or "byte-pairs", which are learned from the text.
        vocabulary: How many byte pairs there are at most.
        width: Channels.
        heads: Heads of the attention.
        length: Tokens that a network sees.
        cap: Of the feedback at the start; see `TransformerCell`.
        layers: Explicit blocks in front of the DEQ, in the recipe of the hybrid.
        evaluation_batches: Batches of windows that a test takes.
    """

    batch_size: int = 12
    rate: float = 0.55
    text: str = "shakespeare"
    tokens: str = "characters"
    vocabulary: int = 512
    width: int = 128
    heads: int = 4
    length: int = 64
    cap: float = 0.04
    layers: int = 1
    evaluation_batches: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self, "tokens", TOKENS)
        check_at_least(self, 1, "width", "heads", "length", "layers", "evaluation_batches")
        check_positive(self, "cap")
        require(self.vocabulary >= 256, f"vocabulary must be 256 or more, got {self.vocabulary}")
        require(
            self.width % self.heads == 0,
            f"width must be a multiple of heads = {self.heads}, got {self.width}",
        )

    @property
    @override
    def subject(self) -> str:
        return self.text
