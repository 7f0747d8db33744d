"""What the configuration file of an equilibrium language model holds."""

from typing import Any

from transformers import PretrainedConfig

from deqlab.arguments import check_count
from deqlab.errors import OnFailure

SIZES = (
    "vocab_size",
    "max_position_embeddings",
    "hidden_size",
    "num_attention_heads",
    "num_hidden_layers",
)


class EquilibriumConfig(PretrainedConfig):  # type: ignore[misc]  # Transformers may be absent
    """The sizes of an equilibrium transformer, and how it is solved, in plain numbers.

    Args:
        vocab_size: Tokens of the vocabulary.
        max_position_embeddings: The longest sequence.
        hidden_size: Channels.
        num_attention_heads: Heads of the attention.
        num_hidden_layers: Blocks inside of f.
        query_key_norm: See `nn.TransformerCell`.
        cap: Where its knob starts; what training makes of it is saved with the weights.
        rtol: The relative tolerance of the solve, by `Anderson`.
        max_steps: Its step limit.
        memory: The differences that it mixes.
        adjoint_rtol: The relative tolerance of the backward pass, by `GMRES`.
        max_products: Its limit of products with the Jacobian.
        on_failure: What a sample that misses its tolerance does: "raise", "warn" or "ignore".
        tie_word_embeddings: True, for the logits are read off by the weights of the embedding.
        others: What every configuration has, such as `pad_token_id`.

    Raises:
        TypeError: A size is no whole number.
        ValueError: It is below 1; or `tie_word_embeddings` is False.
    """

    model_type = "equilibrium_transformer"

    __eq__ = PretrainedConfig.__eq__  # not that of a dataclass, which would compare no argument

    def __init__(
        self,
        vocab_size: int = 50257,
        max_position_embeddings: int = 1024,
        hidden_size: int = 128,
        num_attention_heads: int = 4,
        num_hidden_layers: int = 1,
        *,
        query_key_norm: bool = True,
        cap: float = 0.04,
        rtol: float = 1e-2,
        max_steps: int = 20,
        memory: int = 5,
        adjoint_rtol: float = 5e-2,
        max_products: int = 10,
        on_failure: OnFailure = "warn",
        tie_word_embeddings: bool = True,
        **others: Any,  # noqa: ANN401
    ) -> None:
        self.vocab_size = vocab_size
        self.max_position_embeddings = max_position_embeddings
        self.hidden_size = hidden_size
        self.num_attention_heads = num_attention_heads
        self.num_hidden_layers = num_hidden_layers
        self.query_key_norm = query_key_norm
        self.cap = cap
        self.rtol = rtol
        self.max_steps = max_steps
        self.memory = memory
        self.adjoint_rtol = adjoint_rtol
        self.max_products = max_products
        self.on_failure = on_failure
        for name in SIZES:
            check_count(name, getattr(self, name))
        if not tie_word_embeddings:
            raise ValueError(
                "tie_word_embeddings must be True, got False: the logits are read off by the "
                "weights of the embedding"
            )
        super().__init__(tie_word_embeddings=True, **others)
