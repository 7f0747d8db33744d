"""A state of any structure as one matrix.

A state is a tensor of shape (B, *S), or a container of such tensors that share the batch size B
(see `containers`). Solvers see it as one matrix of shape (B, D), one row per sample; each tensor is
a block of columns of that matrix, and convergence is judged block by block.

A state without a batch (the nodes of a graph, say, which feed each other) is one sample: its
tensors have any shapes, and the matrix has one row.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.containers import State, Structure


@dataclass(frozen=True)
class Layout:
    """Where each tensor of a state lies in the (B, D) matrix."""

    structure: Structure
    shapes: tuple[torch.Size, ...]  # of each block, with the batch
    dtypes: tuple[torch.dtype, ...]
    dtype: torch.dtype  # of the matrix: the widest of the blocks
    blocks: tuple[int, ...]  # columns of each block
    batched: bool = True  # whether rows are samples; else the whole state is one

    @classmethod
    def of(cls, state: State, *, batched: bool = True) -> "Layout":
        """Describe a state.

        Args:
            state: The state.
            batched: Whether the first dimension of each tensor counts samples. If not, the whole
                state is one sample, and its tensors may have any shapes.

        Raises:
            TypeError: Something in `state` is neither a tensor nor a tuple, list or dict.
            ValueError: It is empty, not real floating point, or its batch sizes differ.
        """
        structure = Structure.of(state)
        tensors = tuple(structure.tensors(state))
        _check(tensors, batched)
        dtype = tensors[0].dtype
        for tensor in tensors[1:]:
            dtype = torch.promote_types(dtype, tensor.dtype)
        return cls(
            structure=structure,
            shapes=tuple(t.shape for t in tensors),
            dtypes=tuple(t.dtype for t in tensors),
            dtype=dtype,
            blocks=tuple((t.shape[1:] if batched else t.shape).numel() for t in tensors),
            batched=batched,
        )

    @property
    def batch(self) -> int:
        """Rows of the matrix."""
        return self.shapes[0][0] if self.batched else 1

    def flatten(self, state: State) -> Float[Tensor, "B D"]:
        """Return `state` as one matrix.

        Raises:
            ValueError: Its structure, a shape or a dtype is not the one of this layout.
        """
        if isinstance(state, Tensor) and self.is_tensor:
            shape = state.shape
            if shape == self.shapes[0] and state.dtype == self.dtype:
                return state if self.is_matrix else state.reshape(self.batch, self.blocks[0])
        tensors = tuple(self.structure.tensors(state))
        self._check_match(tensors)
        rows = [t.reshape(self.batch, n) for t, n in zip(tensors, self.blocks, strict=True)]
        if len(rows) == 1:
            return rows[0].to(self.dtype)
        return torch.cat([r.to(self.dtype) for r in rows], dim=1)

    def unflatten(self, matrix: Float[Tensor, "B D"]) -> State:
        """Return the state that `matrix` stands for."""
        if self.is_tensor:
            return matrix if self.is_matrix else matrix.reshape(self.shapes[0])
        # One view at a time: autograd lets nobody write to views that were made together.
        ends = accumulate(self.blocks)
        parts = (matrix.narrow(1, end - n, n) for end, n in zip(ends, self.blocks, strict=True))
        tensors = [
            part.reshape(shape).to(dtype)
            for part, shape, dtype in zip(parts, self.shapes, self.dtypes, strict=True)
        ]
        return self.structure.build(iter(tensors))

    def separated(self, matrix: Float[Tensor, "B D"]) -> State:
        """Return the state that `matrix` stands for, each tensor of it in its own memory.

        A tape takes a write to one of several views for a write to all of them.
        """
        if len(self.blocks) == 1:
            return self.unflatten(matrix)
        parts = zip(matrix.split(self.blocks, dim=1), self.shapes, self.dtypes, strict=True)
        tensors = [part.to(dtype, copy=True).reshape(shape) for part, shape, dtype in parts]
        return self.structure.build(iter(tensors))

    @property
    def is_tensor(self) -> bool:
        """Whether the state is itself one tensor."""
        return self.structure.kind is Tensor

    @property
    def is_matrix(self) -> bool:
        """Whether the state is itself one (B, D) tensor."""
        return self.batched and self.is_tensor and len(self.shapes[0]) == 2

    def narrowed(self, batch: int) -> "Layout":
        """Return the layout of as many rows; a state that is one sample stays as it is."""
        if not self.batched:
            return self
        shapes = tuple(torch.Size((batch, *shape[1:])) for shape in self.shapes)
        return replace(self, shapes=shapes)

    def _check_match(self, tensors: Sequence[Tensor]) -> None:
        for tensor, shape, dtype in zip(tensors, self.shapes, self.dtypes, strict=True):
            if tensor.shape != shape:
                raise ValueError(
                    f"f must keep the shape of z: {tuple(shape)} became {tuple(tensor.shape)}"
                )
            if tensor.dtype != dtype and not _is_autocast(tensor, dtype):
                way_out = f"start from a z0 of {tensor.dtype}, or convert the inputs of f"
                if not tensor.is_floating_point():
                    way_out = "it must return real floating point numbers"
                raise ValueError(
                    f"f must keep the dtype of z: {dtype} became {tensor.dtype}; {way_out}"
                )


def share_memory(one: Tensor, other: Tensor) -> bool:
    """Return whether writing to one tensor might change the other."""
    if one.layout != torch.strided or other.layout != torch.strided:
        return False
    if computes_by_itself(one) or computes_by_itself(other):
        return type(one) is type(other)  # where its numbers lie is not to be known: they might
    if any(map(torch._C._functorch.is_functorch_wrapped_tensor, (one, other))):
        return True  # it shows no memory: it might
    # By addresses: what went through numpy has a storage of its own, which may begin further on.
    a, b = one.untyped_storage(), other.untyped_storage()
    gap = b.data_ptr() - a.data_ptr()
    if gap < 0:
        a, b, gap = b, a, -gap
    return gap < a.nbytes() and b.nbytes() > 0 and one.device == other.device


def computes_by_itself(tensor: Tensor) -> bool:
    """Return whether a tensor is of a class that is a device, or a mesh of devices, of its own."""
    return type(tensor).__torch_dispatch__ is not Tensor.__torch_dispatch__


def _check(tensors: Sequence[Tensor], batched: bool) -> None:
    if not tensors:
        raise ValueError("a state needs at least one tensor, got an empty container")
    for tensor in tensors:
        if tensor.layout != torch.strided:
            raise ValueError(
                f"a state is dense, got {tensor.layout}; a sparse tensor can be an argument of f, "
                "and a sparse state starts as .to_dense()"
            )
        if tensor.is_meta:
            raise ValueError(
                "a state holds numbers, got a tensor on the meta device; make it, and the weights "
                "of f, on a device where they are"
            )
        if not tensor.is_floating_point():
            raise ValueError(
                f"a state is real floating point, got {tensor.dtype}; split a complex state into "
                "real and imaginary parts, and convert integers with .float()"
            )
        if batched and tensor.ndim < 1:
            raise ValueError(
                "a state has the batch as its first dimension, got a scalar tensor; for a state "
                "that is one sample, pass batched=False"
            )
    # Compared, not put into a set: torch.export may know them by their names only.
    if batched and any(t.shape[0] != tensors[0].shape[0] for t in tensors):
        raise ValueError(
            f"all tensors of a state share one batch size, got {[t.shape[0] for t in tensors]}; "
            "for a state that is one sample, pass batched=False"
        )


def _is_autocast(tensor: Tensor, dtype: torch.dtype) -> bool:
    """Return whether autocast has lowered the precision of a tensor; z keeps that without loss."""
    device = tensor.device.type
    return (
        torch.is_autocast_enabled(device)
        and tensor.dtype == torch.get_autocast_dtype(device)
        and torch.promote_types(tensor.dtype, dtype) == dtype
    )
