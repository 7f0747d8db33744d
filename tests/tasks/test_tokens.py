"""Tokens: what is encoded is decoded to the same text, and can be made again from plain values."""

import sys

import pytest
import torch

from deqlab.tasks import load
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.sets.numbers import in_words
from deqlab.tasks.tokens import BytePairs, Characters, tokens_of

TEXT = "the cat sat on the mat; the hat sat on the cat.\nthe end, the end, the end\n" * 20


def test_characters_go_there_and_back():
    tokens = Characters(sorted(set(TEXT)))
    assert tokens.decode(tokens.encode(TEXT)) == TEXT
    assert tokens.num_tokens == len(set(TEXT))
    again = tokens_of(tokens.about())
    assert torch.equal(again.encode(TEXT), tokens.encode(TEXT))
    with pytest.raises(DataError, match="has characters that the vocabulary does not: 'ß', 'é'"):
        tokens.encode("caéß")


def test_byte_pairs_write_any_text_and_shorten_the_one_they_were_learned_from():
    pytest.importorskip("tokenizers")
    tokens = BytePairs.learned(TEXT, 280)
    assert 256 < tokens.num_tokens <= 280
    assert len(tokens.encode(TEXT)) < 0.6 * len(TEXT)
    for text in (TEXT, " two  spaces", "žluťoučký kůň 🐎", "\n\n\t"):
        assert tokens.decode(tokens.encode(text)) == text
    again = tokens_of(tokens.about())
    assert torch.equal(again.encode(TEXT), tokens.encode(TEXT))
    assert int(tokens.encode(TEXT).max()) < tokens.num_tokens


def test_too_few_byte_pairs_are_refused():
    with pytest.raises(ValueError, match="at least 256, one for each byte, got 200"):
        BytePairs.learned(TEXT, 200)


def test_without_the_package_the_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"pip install 'deqlab\[language\]', or take characters"):
        BytePairs.learned(TEXT, 300)


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "zero"),
        (13, "thirteen"),
        (40, "forty"),
        (99, "ninety-nine"),
        (100, "one hundred"),
        (508, "five hundred and eight"),
        (1000, "one thousand"),
        (2019, "two thousand and nineteen"),
        (9301, "nine thousand three hundred and one"),
    ],
)
def test_numbers_in_words(number, words):
    assert in_words(number) == words


def test_the_text_of_numbers_has_each_once_and_is_as_its_card_says():
    data = load("numbers")
    lines = data.decode(torch.cat([data.train, data.validation])).splitlines()
    assert sorted(lines) == sorted(in_words(number) for number in range(10_000))
