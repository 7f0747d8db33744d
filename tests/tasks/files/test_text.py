"""Texts: their characters as numbers, their split, and the one file of tinyshakespeare."""

import hashlib
import re
from dataclasses import replace

import pytest
import torch

from deqlab.tasks import DataError, FileState, inspect, load
from deqlab.tasks.files.sets.shakespeare import SHAKESPEARE
from deqlab.tasks.files.text import TextFile, text_data

FILE = "tinyshakespeare.txt"


def status(folder):
    (found,) = (status for status in inspect(folder) if status.data_set == "shakespeare")
    return found


def test_characters_are_numbered_in_order_and_the_last_tenth_is_for_validation():
    text = "to be, or not to be: \N{GREEK SMALL LETTER ALPHA}\N{SLIGHTLY SMILING FACE}" * 10
    data = text_data("text", text)
    assert data.vocabulary == tuple(sorted(set(text)))
    assert data.decode(torch.cat([data.train, data.validation])) == text
    assert len(data.train) == len(text) * 9 // 10
    assert torch.equal(data.encode(text[:50]), data.train[:50])


@pytest.mark.parametrize("length", [2, 3, 9])
def test_a_short_text_has_both_parts(length):
    data = text_data("text", "ab" * length)
    assert len(data.train) >= 1
    assert len(data.validation) >= 1


def test_a_text_without_characters_is_one_sentence():
    with pytest.raises(DataError, match=r"^empty has 0 characters, and needs two or more$"):
        text_data("empty", "")


def test_an_unknown_character_is_named():
    with pytest.raises(DataError, match=r"^the text has characters that text does not: 'x', 'y'; "):
        text_data("text", "abc").encode("axby")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"To be", "is truncated: it has 5 bytes, expected 10; replace it"),
        (
            b"To be, 0r ",
            r"is not the original: its sha256 checksum is [0-9a-f]{16}\.\.\., expected",
        ),
    ],
)
def test_another_file_is_one_sentence(tmp_path, content, sentence):
    file = TextFile(name=FILE, num_bytes=10, sha256="0" * 64)
    with pytest.raises(DataError, match=f"^{re.escape(FILE)} {sentence}"):
        file.read(content, where=FILE)
    (tmp_path / FILE).write_bytes(content)
    found = status(tmp_path)
    assert found.state is FileState.DAMAGED
    assert found.sentence.startswith(f"{tmp_path / FILE} is truncated")


def test_the_bytes_are_read_as_they_are(tmp_path):
    raw = "a\r\nb \N{EM DASH}\n".encode()
    file = TextFile(name=FILE, num_bytes=len(raw), sha256=hashlib.sha256(raw).hexdigest())
    data = replace(SHAKESPEARE, files=(file,)).make(SHAKESPEARE, file.read(raw, where=FILE))
    assert data.decode(torch.cat([data.train, data.validation])).encode() == raw


def test_the_real_text_is_found_verified_and_split(real_text):
    found = status(real_text)
    assert found.state is FileState.FOUND
    assert found.path == real_text / "text" / FILE
    data = load("shakespeare", data_dir=real_text)
    assert {"train": len(data.train), "validation": len(data.validation)} == SHAKESPEARE.splits
    assert len(data.vocabulary) == SHAKESPEARE.num_classes
    assert data.decode(data.train[:14]) == "First Citizen:"
    assert int(torch.cat([data.train, data.validation]).bincount().argmax()) == 1  # the space
