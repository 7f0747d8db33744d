"""What a text is cut into: its characters, or byte pairs that are learned from it.

Byte pairs are those of the package tokenizers (Sennrich, Haddow & Birch 2016, "Neural machine
translation of rare words with subword units", on bytes, as in GPT-2): every text has them, and
decoding gives back what was encoded.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor
from typing_extensions import override

from deqlab.arguments import check_count
from deqlab.tasks.files.errors import DataError


class Tokens(ABC):
    """A vocabulary, and how a text is written in it."""

    @property
    @abstractmethod
    def num_tokens(self) -> int:
        """How many different tokens there are."""

    @abstractmethod
    def encode(self, text: str) -> Int64[Tensor, " length"]:
        """Return the numbers of the tokens of a text."""

    @abstractmethod
    def decode(self, tokens: Int64[Tensor, " length"]) -> str:
        """Return the text of these numbers."""

    @abstractmethod
    def about(self) -> dict[str, Any]:
        """Return plain values from which `tokens_of` makes the same again."""


class Characters(Tokens):
    """Each character is a token.

    Args:
        vocabulary: All characters, by number.
        name: Whose characters they are, for errors.

    Example:
        >>> tokens = Characters("abc")
        >>> tokens.decode(tokens.encode("cab"))
        'cab'
    """

    def __init__(self, vocabulary: Sequence[str], name: str = "the vocabulary") -> None:
        self.vocabulary, self.name = tuple(vocabulary), name

    @property
    @override
    def num_tokens(self) -> int:
        return len(self.vocabulary)

    @override
    def encode(self, text: str) -> Int64[Tensor, " length"]:
        """Return the numbers of the characters of a text.

        Raises:
            DataError: A character is not in the vocabulary.
        """
        numbers = {character: number for number, character in enumerate(self.vocabulary)}
        unknown = sorted(set(text) - numbers.keys())
        if unknown:
            raise DataError(
                f"the text has characters that {self.name} does not: "
                f"{', '.join(map(repr, unknown[:5]))}; leave them out, or take one of its "
                f"{len(numbers)}: {''.join(self.vocabulary)!r}"
            )
        return torch.tensor([numbers[character] for character in text], dtype=torch.int64)

    @override
    def decode(self, tokens: Int64[Tensor, " length"]) -> str:
        return "".join(self.vocabulary[token] for token in tokens.tolist())

    @override
    def about(self) -> dict[str, Any]:
        return {"characters": "".join(self.vocabulary), "name": self.name}


class BytePairs(Tokens):
    """Byte pairs of the package tokenizers, which `pip install deqlab[language]` brings.

    Args:
        tokenizer: A tokenizer as JSON, as the package writes it.
    """

    def __init__(self, tokenizer: str) -> None:
        self._tokenizer = _package().Tokenizer.from_str(tokenizer)

    @classmethod
    def learned(cls, text: str, num_tokens: int) -> "BytePairs":
        """Return the byte pairs that occur most often in a text.

        Args:
            text: The text.
            num_tokens: How many tokens there are at most, at least 256, one for each byte.

        Raises:
            DataError: The package tokenizers is not installed.
            ValueError: There are too few tokens.
        """
        check_count("num_tokens", num_tokens)
        if num_tokens < 256:
            raise ValueError(
                f"num_tokens must be at least 256, one for each byte, got {num_tokens}"
            )
        package = _package()
        tokenizer = package.Tokenizer(package.models.BPE())
        tokenizer.pre_tokenizer = package.pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = package.decoders.ByteLevel()
        trainer = package.trainers.BpeTrainer(
            vocab_size=num_tokens,
            show_progress=False,
            initial_alphabet=package.pre_tokenizers.ByteLevel.alphabet(),
        )
        tokenizer.train_from_iterator(text.splitlines(keepends=True), trainer)
        return cls(tokenizer.to_str())

    @property
    @override
    def num_tokens(self) -> int:
        return int(self._tokenizer.get_vocab_size())

    @override
    def encode(self, text: str) -> Int64[Tensor, " length"]:
        return torch.tensor(self._tokenizer.encode(text).ids, dtype=torch.int64)

    @override
    def decode(self, tokens: Int64[Tensor, " length"]) -> str:
        return str(self._tokenizer.decode(tokens.tolist()))

    @override
    def about(self) -> dict[str, Any]:
        return {"byte_pairs": self._tokenizer.to_str()}


def tokens_of(about: dict[str, Any]) -> Tokens:
    """Return the tokens that `Tokens.about` describes."""
    if "byte_pairs" in about:
        return BytePairs(about["byte_pairs"])
    return Characters(about["characters"], about["name"])


def _package() -> Any:  # noqa: ANN401, it may be absent
    try:
        import tokenizers
    except ImportError as error:
        raise DataError(
            "byte pairs are those of the package tokenizers, which is not installed: "
            "pip install 'deqlab[language]', or take characters"
        ) from error
    return tokenizers
