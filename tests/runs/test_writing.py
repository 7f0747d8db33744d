"""What is written is JSON that every parser reads, whole or not at all, and read as it was."""

import json
import math
import os
import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deqlab.runs.reading import DamagedError, parse
from deqlab.runs.writing import to_json, write_whole

# Halves of surrogate pairs as Python makes them of bytes that are no UTF-8; both halves in a row
# are one character for every parser of JSON.
TEXTS = st.text(st.characters(exclude_categories=["Cs"])) | st.binary().map(
    lambda name: name.decode("utf-8", "surrogateescape")
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


def expected(value):
    """`value` with null for what JSON cannot say."""
    if isinstance(value, dict):
        return {name: expected(part) for name, part in value.items()}
    if isinstance(value, list):
        return [expected(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def strict(text):
    """Parse as a parser does that knows the standard only."""

    def refuse(constant):
        raise AssertionError(f"{constant} is not in the standard")

    return json.loads(text.encode("utf-8").decode("utf-8"), parse_constant=refuse)


@given(VALUES, st.none() | st.just(2))
def test_any_value_is_read_back_as_it_was(value, indent):
    text = to_json(value, indent=indent)
    for read in (strict(text), parse(text.encode("utf-8"))):
        assert read == expected(value)
        assert repr(read) == repr(expected(value))  # -0.0 and 0.0, 1 and 1.0 and True


@given(VALUES)
def test_a_value_on_one_line_is_one_line(value):
    assert "\n" not in to_json(value)
    assert "\r" not in to_json(value)


@pytest.mark.parametrize("value", [{"x": {1, 2}}, {"x": [b"bytes"]}, {3: "x"}, {"x": {None: 1}}])
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(TypeError):
        to_json(value)


def test_what_is_nested_too_deep_is_refused_on_either_way():
    value = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="nested more than 100 deep"):
        to_json(value)
    for depth in (101, 500, 100_000):
        with pytest.raises(DamagedError, match="nested more than 100 deep"):
            parse(b"[" * depth + b"]" * depth)
    parse(b"[" * 100 + b"]" * 100)
    parse(b"[" + b"[]," * 1000 + b"[]]")  # wide, and not deep
    while value:  # the interpreter would take the parts apart one within the other
        value = value.pop()


def test_a_number_that_python_calls_infinite_is_not_finite():
    assert parse(b"[1e999, -1e999, NaN, Infinity, -Infinity, 1e308]") == [*[None] * 5, 1e308]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_failure_in_the_middle_keeps_the_old_file(tmp_path, monkeypatch, failing):
    file = tmp_path / "file"
    file.write_text("old")

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(file, "new")
    monkeypatch.undo()
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]
    write_whole(file, "new")
    assert file.read_text() == "new"


def test_a_text_that_cannot_be_encoded_keeps_the_old_file(tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(tmp_path / "file", "\ud800")
    assert (tmp_path / "file").read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 1


def test_a_link_stays_a_link_and_a_mode_stays_a_mode(tmp_path):
    (tmp_path / "file").write_text("old")
    (tmp_path / "file").chmod(0o640)
    (tmp_path / "link").symlink_to("file")
    write_whole(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o640


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_whole(tmp_path / "pipe", "new")
    assert os.read(reader, 10) == b"new"
    os.close(reader)
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
