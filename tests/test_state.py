"""States of any structure as one matrix, and their norms."""

import subprocess
import sys
from collections import OrderedDict
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from deqlab.linalg.arrays import choose_rows
from deqlab.linalg.norms import block_norms
from deqlab.state import Layout
from tests.problems import F64, normal

A, B = normal(3, 2, 2, seed=0), normal(3, 5, seed=1)


class Pair(NamedTuple):
    left: Any
    right: Any


def same(one, other):
    if type(one) is not type(other):
        return False
    if isinstance(one, torch.Tensor):
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[k], other[k]) for k in one)
    return len(one) == len(other) and all(map(same, one, other))


@pytest.mark.parametrize(
    "state",
    [
        A,
        normal(3, seed=2),
        torch.zeros(0, 4),
        torch.zeros(4, 0),
        (A, B),
        (A,),
        {"b": B, "a": A},
        (A.float(), B),
        {"low": A.bfloat16(), "high": B.float()},
        [A, B],
        Pair(A, B),
        OrderedDict(b=B, a=A),
        {"images": [A, (B, A)], "numbers": Pair(B, {1: A, 0: B}), "none": ()},
    ],
    ids=[
        *("tensor", "vector", "no rows", "no columns", "tuple", "one", "dict", "mixed", "bfloat16"),
        *("list", "named tuple", "ordered dict", "nested"),
    ],
)
def test_unflatten_undoes_flatten(state):
    layout = Layout.of(state)
    matrix = layout.flatten(state)
    assert matrix.shape == (layout.shapes[0][0], sum(layout.blocks))
    assert same(layout.unflatten(matrix), state)


@pytest.mark.parametrize(
    "state",
    [torch.tensor(1.0), A, (A, B[:2], torch.tensor(2.0)), {"b": B, "none": torch.zeros(0, 4)}],
    ids=["number", "tensor", "other batches", "no rows"],
)
def test_a_state_without_a_batch_is_one_row(state):
    layout = Layout.of(state, batched=False)
    matrix = layout.flatten(state)
    assert matrix.shape == (1, sum(layout.blocks))
    assert same(layout.unflatten(matrix), state)
    assert not layout.is_matrix


def test_blocks_lie_side_by_side_in_the_order_of_the_state():
    layout = Layout.of({"b": B, "a": A})
    matrix = layout.flatten({"b": B, "a": A})
    assert layout.blocks == (5, 4)
    assert torch.equal(matrix, torch.cat([B, A.flatten(1)], dim=1))


def test_f_may_return_the_keys_of_a_dict_in_any_order():
    layout = Layout.of({"a": A, "b": {"x": B, "y": A}})
    straight = layout.flatten({"a": 2 * A, "b": {"x": 2 * B, "y": 3 * A}})
    assert torch.equal(layout.flatten({"b": {"y": 3 * A, "x": 2 * B}, "a": 2 * A}), straight)
    assert list(layout.unflatten(straight)["b"]) == ["x", "y"]


def test_the_matrix_has_the_widest_dtype():
    assert Layout.of((A.float(), B)).dtype == F64
    assert Layout.of((A.half(), B.bfloat16())).dtype == torch.float32


def test_lower_precision_than_the_start_is_accepted_of_autocast_alone():
    layout = Layout.of(A.float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert layout.flatten(A.bfloat16()).dtype == torch.float32
        with pytest.raises(ValueError, match=r"float32 became torch\.float16"):
            layout.flatten(A.half())
    with pytest.raises(ValueError, match=r"float32 became torch\.bfloat16"):
        layout.flatten(A.bfloat16())


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        ((), "at least one tensor, got an empty container"),
        (torch.zeros(2, 3, dtype=torch.int64), r"got torch.int64; .*\.float\(\)"),
        (torch.zeros(2, 3, dtype=torch.cfloat), "got torch.complex64"),
        (torch.tensor(1.0), "first dimension, got a scalar tensor"),
        ((A, B[:2]), r"share one batch size, got \[3, 2\]; .* pass batched=False"),
        (
            torch.zeros(2, 3, device="meta"),
            "a state holds numbers, got a tensor on the meta device",
        ),
        (B.to_sparse(), r"a state is dense, got torch.sparse_coo; .*\.to_dense\(\)"),
    ],
)
def test_what_is_no_state_is_refused_with_what_it_was(state, sentence):
    with pytest.raises(ValueError, match=sentence):
        Layout.of(state)


def test_other_containers_are_refused_by_name():
    # In a process of its own: in this one the type checkers speak first.
    code = """
from dataclasses import dataclass
import torch
from deqlab.state import Layout
@dataclass
class Pair:
    a: torch.Tensor
for state in (torch.zeros, (torch.zeros(1, 1), [None]), {"p": Pair(torch.zeros(1, 1))}):
    try:
        Layout.of(state)
    except TypeError as error:
        print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [
        "a state is a tensor, or a tuple, list or dict of states, found builtin_function_or_method "
        "in it",
        "a state is a tensor, or a tuple, list or dict of states, found NoneType in it",
        "a state is no dataclass, got Pair: make it a NamedTuple, whose fields have names as well",
    ]


@pytest.mark.parametrize(
    ("start", "image", "sentence"),
    [
        (A, (A,), "structure of z: a tensor became a tuple of 1"),
        ((A, B), (A, B, B), "a tuple of 2 became a tuple of 3"),
        ((A, B), {"a": A, "b": B}, r"a tuple of 2 became a dict with keys \['a', 'b'\]"),
        ({"a": A}, {"b": A}, r"keys \['a'\] became a dict with keys \['b'\]"),
        ([A, B], (A, B), "a list of 2 became a tuple of 2"),
        (Pair(A, B), (A, B), r"a Pair with fields \['left', 'right'\] became a tuple of 2"),
        ((A, B), Pair(A, B), "a tuple of 2 became a Pair with fields"),
        ({"a": [A, B]}, {"a": [A]}, r"structure of z\['a'\]: a list of 2 became a list of 1"),
        (Pair(A, (B,)), Pair(A, B), r"structure of z.right: a tuple of 1 became a tensor"),
        ((A,), (None,), r"structure of z\[0\]: a tensor became something else \(a state is a"),
        (B, B[:, :4], r"shape of z: \(3, 5\) became \(3, 4\)"),
        (B, B[:2], r"shape of z: \(3, 5\) became \(2, 5\)"),
        (B.float(), B, "dtype of z: torch.float32 became torch.float64; start from a z0 of"),
    ],
)
def test_an_image_of_another_kind_is_refused_with_both_kinds(start, image, sentence):
    with pytest.raises(ValueError, match=sentence):
        Layout.of(start).flatten(image)


@given(
    batch=st.integers(0, 4),
    blocks=st.lists(st.integers(0, 5), min_size=1, max_size=3),
    log10_scale=st.integers(-30, 30),
)
def test_block_norms_are_euclidean_row_by_row(batch, blocks, log10_scale):
    matrix = 10.0**log10_scale * normal(batch, sum(blocks), seed=7)
    norms = torch.as_tensor(block_norms(matrix, blocks))
    expected = [part.square().sum(dim=1).sqrt() for part in matrix.split(blocks, dim=1)]
    torch.testing.assert_close(norms, torch.stack(expected, dim=1), rtol=1e-12, atol=0)


@pytest.mark.parametrize("scale", [1e-30, 1e-22, 1e-16, 1.0, 1e17, 1e20, 1e25])
def test_norms_of_float32_rows_neither_overflow_nor_vanish(scale):
    # Squares of 1e-30 and 1e25 leave the range of float32; an ordinary row sits beside them.
    matrix = torch.stack([normal(4, seed=8) * scale, normal(4, seed=9)]).float()
    norms = torch.as_tensor(block_norms(matrix, (4,)))
    assert norms.dtype == F64
    # 1e-6: the sum of four squares in float32.
    torch.testing.assert_close(norms[:, 0], matrix.double().norm(dim=1), rtol=1e-6, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norms_of_half_precision_are_summed_in_double(dtype):
    matrix = torch.full((2, 4096), 300.0, dtype=dtype)  # squares overflow float16
    norms = torch.as_tensor(block_norms(matrix, (4096,)))
    torch.testing.assert_close(norms, torch.full((2, 1), 64 * 300.0, dtype=F64))


def test_norms_of_nonfinite_rows_are_nonfinite_and_alone():
    matrix = torch.ones(3, 2)
    matrix[0, 0], matrix[2, 1] = torch.nan, torch.inf
    norms = torch.as_tensor(block_norms(matrix, (2,)))[:, 0]
    assert norms.isfinite().tolist() == [False, True, False]


@given(mask=st.lists(st.booleans(), max_size=6))
def test_choose_rows_is_where(mask):
    yes, no = normal(len(mask), 3, seed=3), normal(len(mask), 3, seed=4)
    rows = torch.tensor(mask, dtype=torch.bool)
    chosen = choose_rows(rows.numpy(), yes, no)
    assert torch.equal(chosen, torch.where(rows[:, None], yes, no))
    assert torch.equal(yes, normal(len(mask), 3, seed=3))
    assert torch.equal(no, normal(len(mask), 3, seed=4))


@pytest.mark.parametrize("mask", [[True, False, False], [True, True, False]])
def test_choose_rows_passes_each_gradient_to_the_rows_chosen(mask):
    yes, no = normal(3, 2, seed=5).requires_grad_(), normal(3, 2, seed=6).requires_grad_()
    rows = torch.tensor(mask)
    choose_rows(rows.numpy(), yes, no).sum().backward()
    assert torch.equal(yes.grad, rows[:, None].double().expand(3, 2))
    assert torch.equal(no.grad, (~rows)[:, None].double().expand(3, 2))
