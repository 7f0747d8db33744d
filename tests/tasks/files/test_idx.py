"""IDX files: what is written by hand is read back, and anything less is refused."""

import gzip
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.idx import decompress, parse

LABELS = bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])
IMAGES = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])


def read(data, *, num_dims=1, max_bytes=1000):
    raw = decompress(data, where="here.gz", max_bytes=max_bytes)
    return parse(raw, num_dims=num_dims, where="here.gz")


def refusal(sentence):
    """Match the whole message: one sentence, on one line."""
    return f"^{re.escape(sentence)}$"


def test_the_format_by_hand():
    assert read(LABELS).tolist() == [7, 8, 9]
    assert read(IMAGES, num_dims=3).tolist() == [[[1, 2, 3]], [[4, 5, 6]]]


@settings(deadline=None)
@given(
    arrays.arrays(np.uint8, arrays.array_shapes(min_dims=1, max_dims=4, min_side=0)),
    st.booleans(),
)
def test_what_is_written_is_read_back_gzipped_or_not(tiny, items, gzipped):
    data = tiny.idx(items)
    back = read(gzip.compress(data) if gzipped else data, num_dims=items.ndim, max_bytes=10**6)
    assert back.dtype == np.uint8
    np.testing.assert_array_equal(back, items)


@pytest.mark.parametrize("keep", [12, 15, len(gzip.compress(IMAGES)) - 1])
def test_a_gzip_stream_that_breaks_off_is_refused(keep):
    data = gzip.compress(IMAGES)[:keep]
    message = (
        f"here.gz is truncated: its gzip stream breaks off after {keep} bytes; "
        "delete the file and fetch it again"
    )
    with pytest.raises(DataError, match=refusal(message)):
        read(data, num_dims=3)


@settings(deadline=None)
@given(st.integers(0, 8 * len(gzip.compress(IMAGES)) - 1))
def test_a_flipped_bit_changes_no_item_unnoticed(position):
    flipped = bytearray(gzip.compress(IMAGES))
    flipped[position // 8] ^= 1 << position % 8
    # Some bits are free: time, operating system, the padding of the last block.
    try:
        items = read(bytes(flipped), num_dims=3)
    except DataError:
        return
    assert items.tolist() == [[[1, 2, 3]], [[4, 5, 6]]]


def test_a_damaged_gzip_stream_says_so():
    flipped = bytearray(gzip.compress(IMAGES))
    flipped[-6] ^= 1  # in the stored CRC
    with pytest.raises(
        DataError, match=r"^here\.gz is damaged: CRC check failed .*fetch it again$"
    ):
        read(bytes(flipped), num_dims=3)


def test_a_stream_that_expands_without_end_is_not_followed():
    bomb = gzip.compress(bytes(10**7))
    assert len(decompress(bomb, where="here.gz", max_bytes=100)) == 101


@pytest.mark.parametrize("num_items", [0, 1, 5])
def test_fewer_items_than_the_header_promises(num_items):
    message = (
        "here.gz is truncated: its header promises 2 x 1 x 3 = 6 bytes of items, and "
        f"{num_items} follow; replace it with the original"
    )
    with pytest.raises(DataError, match=refusal(message)):
        read(IMAGES[: 16 + num_items], num_dims=3)


def test_more_items_than_the_header_promises():
    message = (
        "here.gz has trailing bytes: its header promises 3 = 3 bytes of items, and 5 follow; "
        "replace it with the original"
    )
    with pytest.raises(DataError, match=refusal(message)):
        read(LABELS + b"\0\0")


@pytest.mark.parametrize("keep", [4, 15])
def test_a_file_that_ends_within_its_header(keep):
    message = (
        f"here.gz is truncated: it ends after {keep} bytes, within its header of 16; "
        "replace it with the original"
    )
    with pytest.raises(DataError, match=refusal(message)):
        read(IMAGES[:keep], num_dims=3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            b"<!DOCTYPE html>",
            "is not an IDX file (magic number 0x3c21444f, expected 0x00000801)",
        ),
        (
            IMAGES,
            "has 3 dimensions, where 1 are expected (magic number 0x00000803, expected 0x00000801)",
        ),
        (
            bytes([0, 0, 0x0D, 1, 0, 0, 0, 0]),
            "holds items of type float32, where unsigned bytes are expected "
            "(magic number 0x00000d01, expected 0x00000801)",
        ),
        (
            bytes([0, 0, 0x07, 1, 0, 0, 0, 0]),
            "is not an IDX file (magic number 0x00000701, expected 0x00000801)",
        ),
        (
            bytes([0, 1, 0x08, 1, 0, 0, 0, 0]),
            "is not an IDX file (magic number 0x00010801, expected 0x00000801)",
        ),
        (
            b"",
            "is truncated: it has 0 bytes where the magic number takes 4 "
            "(magic number nothing, expected 0x00000801)",
        ),
        (
            b"\0\0",
            "is truncated: it has 2 bytes where the magic number takes 4 "
            "(magic number 0x0000, expected 0x00000801)",
        ),
    ],
    ids=["html", "dimensions", "item type", "unknown type", "not zero", "empty", "two bytes"],
)
def test_a_wrong_magic_number(data, reason):
    with pytest.raises(DataError, match=refusal(f"here.gz {reason}; replace it with the original")):
        read(data)
