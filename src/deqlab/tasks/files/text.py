"""Texts as sequences of characters, with a part to train on and a part to validate on.

A character is a token, numbered in the order of code points. The last tenth of a text is for
validation, so that no passage stands in both parts.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor
from typing_extensions import override

from deqlab.tasks.files.dataset import File
from deqlab.tasks.files.errors import DataError, NotOriginalError
from deqlab.tasks.tokens import Characters


@dataclass(frozen=True, kw_only=True, eq=False)
class TextData:
    """A text as numbers of characters.

    Attributes:
        name: The name of the data set.
        train: The characters to train on, in order.
        validation: Those that follow.
        vocabulary: All characters that occur, by number.

    Example:
        >>> data = text_data("abc", "a rose is a rose is a rose is a rose")
        >>> data.vocabulary
        (' ', 'a', 'e', 'i', 'o', 'r', 's')
        >>> data.decode(data.encode("soar")), len(data.train), len(data.validation)
        ('soar', 32, 4)
    """

    name: str
    train: Int64[Tensor, " train"]
    validation: Int64[Tensor, " validation"]
    vocabulary: tuple[str, ...]

    def encode(self, text: str) -> Int64[Tensor, " length"]:
        """Return the numbers of the characters of a text.

        Raises:
            DataError: A character is not in the vocabulary.
        """
        return Characters(self.vocabulary, self.name).encode(text)

    def decode(self, tokens: Int64[Tensor, " length"]) -> str:
        """Return the text of these numbers."""
        return Characters(self.vocabulary, self.name).decode(tokens)


def text_data(name: str, text: str) -> TextData:
    """Return a text in numbers, nine tenths of it to train on.

    Raises:
        DataError: It has fewer than two characters.
    """
    if len(text) < 2:
        raise DataError(f"{name} has {len(text)} characters, and needs two or more")
    # A hundred times as fast as a dictionary; numpy sorts the characters by their code points.
    points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    found, numbers = np.unique(points, return_inverse=True)
    tokens = torch.from_numpy(numbers.astype(np.int64))
    train = max(1, len(tokens) * 9 // 10)
    return TextData(
        name=name,
        train=tokens[:train],
        validation=tokens[train:],
        vocabulary=tuple(map(chr, found.tolist())),
    )


@dataclass(frozen=True, kw_only=True)
class TextFile(File):
    """A text in UTF-8.

    Attributes:
        num_bytes: Its size.
        sha256: The checksum of its bytes, in hexadecimal.
    """

    num_bytes: int
    sha256: str

    @property
    @override
    def archive(self) -> str:
        return self.name

    @property
    @override
    def most_bytes(self) -> int:
        return self.num_bytes

    @property
    @override
    def checksums(self) -> tuple[str, ...]:
        return (self.sha256,)

    @override
    def read(self, data: bytes, *, where: str) -> str:
        if len(data) < self.num_bytes:
            raise DataError(
                f"{where} is truncated: it has {len(data)} bytes, expected {self.num_bytes}; "
                "replace it with the original"
            )
        digest = hashlib.sha256(data).hexdigest()
        if digest != self.sha256:
            raise NotOriginalError(
                f"{where} is not the original: its sha256 checksum is {digest[:16]}..., expected "
                f"{self.sha256[:16]}...; replace it with the original",
                checksum=digest,
            )
        return data.decode("utf-8")
