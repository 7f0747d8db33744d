"""The explicit transformer that one with a DEQ is compared with.

It has the parameters of the DEQ where it has as many blocks as f, and its FLOPs where a step of
training costs as much: see `transformer_twin` and `layers_of_equal_flops`.
"""

from jaxtyping import Int
from torch import Tensor
from torch.nn.functional import cross_entropy

from deqlab.nn.cells.transformer import TransformerCell
from deqlab.nn.deq import DEQ
from deqlab.nn.models.transformer import Transformer, explicit_transformer
from deqlab.nn.models.twins import step_flops
from deqlab.nn.transformer_block import TransformerBlock


def transformer_twin(model: Transformer, *, layers: int | None = None) -> Transformer:
    """Return an explicit transformer of the sizes of one with a DEQ, with weights of its own.

    Args:
        model: The transformer with a DEQ around a `TransformerCell`.
        layers: How many blocks. None takes as many as f has: the twin of equal parameters, but
            for the gates.
    """
    blocks = _cell(model).blocks
    block = blocks[0]
    assert isinstance(block, TransformerBlock)
    twin = explicit_transformer(
        model.embedding.num_embeddings,
        model.position.num_embeddings,
        model.embedding.embedding_dim,
        block.attention.heads,
        layers=len(blocks) if layers is None else layers,
        causal=block.attention.causal,
        query_key_norm=block.attention.normalised,
    )
    return twin.to(model.embedding.weight)


def layers_of_equal_flops(
    model: Transformer, tokens: Int[Tensor, "B T"], *, budget: int | None = None
) -> int:
    """Return the layers with which the twin takes most nearly the FLOPs of a step of training.

    Args:
        model: The transformer with a DEQ.
        tokens: A batch as in training.
        budget: The FLOPs of a step of the DEQ. None counts one on these tokens, at the present
            weights: solves take more evaluations after training than before it.
    """
    budget = _step_flops(model, tokens) if budget is None else budget
    # Not on the meta device, where torch chooses another kernel for attention. A layer costs what
    # every other does.
    one, two = (_step_flops(transformer_twin(model, layers=n), tokens) for n in (1, 2))
    return max(1, round(1 + (budget - one) / (two - one)))


def _cell(model: Transformer) -> TransformerCell:
    cell = model.body.cell if isinstance(model.body, DEQ) else None
    if not isinstance(cell, TransformerCell):
        raise ValueError(
            "a twin is that of a Transformer whose body is DEQ(TransformerCell(...)), got a body "
            f"of {type(model.body).__name__}"
        )
    return cell


def _step_flops(model: Transformer, tokens: Tensor) -> int:
    return step_flops(
        model, lambda: cross_entropy(model(tokens).flatten(0, 1), tokens.flatten().long())
    )
