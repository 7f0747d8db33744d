"""The text that a recipe trains, chooses and tests on."""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from typing_extensions import override

from deqlab.experiments.base import Row
from deqlab.recipes.by_steps import StepsTask
from deqlab.recipes.language.config import LanguageConfig
from deqlab.recipes.task import Metric
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.loading import load
from deqlab.tasks.files.registry import REGISTRY, names_of, require_kind
from deqlab.tasks.files.text import TextData, text_data
from deqlab.tasks.tokens import BytePairs, Characters, Tokens, tokens_of
from deqlab.training.batches import Drawn
from deqlab.training.equilibrium import Labelled, assessed


@dataclass(frozen=True, kw_only=True, eq=False)
class Text:
    """A text in tokens.

    Attributes:
        train: The tokens to train on, in order.
        choice: Those that decide between learning rates; none where there is one.
        validation: Those to test on.
        tokens: What they stand for.
    """

    train: Int64[Tensor, " train"]
    choice: Int64[Tensor, " choice"]
    validation: Int64[Tensor, " validation"]
    tokens: Tokens


def text_of(config: LanguageConfig) -> Text:
    """Return the text of a config; the last tenth to train on decides between learning rates.

    Raises:
        DataError: The text is not here, or damaged, or too short.
    """
    data = _loaded(config.text)
    train, validation = data.train, data.validation
    tokens: Tokens = Characters(data.vocabulary, data.name)
    if config.tokens == "byte-pairs":
        known = data.decode(train)
        tokens = _learned(known, config.vocabulary)
        train, validation = tokens.encode(known), tokens.encode(data.decode(validation))
    kept = len(train) if len(config.learning_rates) == 1 else len(train) - len(train) // 10
    parts = {"to train on": train[:kept], "for validation": validation}
    if kept < len(train):
        parts["that decides between learning rates"] = train[kept:]
    for name, part in parts.items():
        if len(part) <= config.length:
            raise DataError(
                f"{data.name}: the part {name} has {len(part)} {config.tokens.replace('-', ' ')}, "
                f"and networks see {config.length} and learn the next: take a longer text, or a "
                f"smaller length, at most {len(part) - 1}"
            )
    return Text(train=train[:kept], choice=train[kept:], validation=validation, tokens=tokens)


def written_in(about: dict[str, Any]) -> Text:
    """Return a text of no tokens: what a network is made again for."""
    none = torch.empty(0, dtype=torch.int64)
    return Text(train=none, choice=none, validation=none, tokens=tokens_of(about))


def windows(
    tokens: Int64[Tensor, " N"], count: int, length: int, generator: torch.Generator
) -> Labelled:
    """Return so many pieces of a text from anywhere, and the token that follows each of theirs."""
    starts = torch.randint(len(tokens) - length, (count, 1), generator=generator)
    found = tokens[starts + torch.arange(length + 1)]
    return found[:, :-1], found[:, 1:]


class LanguageTask(StepsTask[Labelled]):
    """Pieces of a text, AdamW with a cosine, and the loss of the next token."""

    metric: Metric = Metric(
        field="validation_loss",
        name="a validation loss",
        higher=False,
        show="{:.3f}".format,
        show_gap="{:+.3f}".format,
    )

    def __init__(self, config: LanguageConfig) -> None:
        super().__init__(config)
        self.config: LanguageConfig = config
        self.data: Text = text_of(config)

    @override
    def batches(self, generator: torch.Generator) -> Drawn[Labelled]:
        size, length = self.config.batch_size, self.config.length
        return Drawn(
            self.config.steps,
            generator,
            lambda generator: windows(self.data.train, size, length, generator),
        )

    @override
    def loss(self, model: nn.Module, batch: Labelled) -> Tensor:
        tokens, following = batch
        return cross_entropy(model(tokens).flatten(0, 1), following.flatten())

    @override
    def tested(self, model: nn.Module) -> Row:
        row = assessed(model, self._fixed(self.data.validation))
        loss = row.pop("test_loss")
        return {"validation_loss": loss, "perplexity": _exp(loss), **row}

    @override
    def validated(self, model: nn.Module) -> float:
        loss: float = assessed(model, self._fixed(self.data.choice))["test_loss"]
        return loss

    @override
    def about(self) -> dict[str, Any]:
        return self.data.tokens.about()

    def _fixed(self, tokens: Int64[Tensor, " N"]) -> Labelled:
        """Return the same pieces of a part of the text for every network."""
        count = self.config.evaluation_batches * self.config.batch_size
        return windows(tokens, count, self.config.length, torch.Generator().manual_seed(0))


@lru_cache(maxsize=1)
def _loaded(text: str) -> TextData:
    if text in names_of(TextData) or (REGISTRY.knows(text) and not Path(text).exists()):
        require_kind(text, TextData)
        data: TextData = load(text)
        return data
    path = Path(text)
    try:
        content = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"text: {text!r} is neither a text that `deqlab data` lists "
            f"({', '.join(names_of(TextData))}) nor a file that can be read ({error.strerror})"
        ) from error
    except UnicodeDecodeError as error:
        raise DataError(f"{text} is no text in UTF-8: {error}") from error
    return text_data(path.name, content)


@lru_cache(maxsize=1)
def _learned(text: str, num_tokens: int) -> BytePairs:
    return BytePairs.learned(text, num_tokens)


def _exp(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf
