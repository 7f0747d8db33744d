"""A language model at its equilibrium, for the Trainer and `generate` of Hugging Face.

`EquilibriumForCausalLM` is `nn.equilibrium_transformer` with the calls, the loss and the files of a
`PreTrainedModel`. Importing this module registers it with `AutoConfig` and `AutoModelForCausalLM`.
"""

import math
from typing import Any

import torch
from jaxtyping import Int
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    GenerationMixin,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutput
from typing_extensions import override

from deqlab.gradients.implicit import Implicit
from deqlab.gradients.linear_methods import GMRES
from deqlab.integrations.causal_lm_config import EquilibriumConfig
from deqlab.nn.cells.transformer import GATE, TransformerCell
from deqlab.nn.deq import DEQ
from deqlab.nn.models.transformer import equilibrium_transformer
from deqlab.nn.transformer_block import STD, TransformerBlock
from deqlab.solvers.anderson import Anderson

OF_OTHER_MODELS = ("position_ids", "output_attentions", "output_hidden_states")
"""What `generate` lets pass that this model has not; `forward` refuses it."""

HARMLESS = {"num_items_in_batch", "use_cache"}
"""What `forward` is told beside its arguments that asks for nothing else."""


class EquilibriumForCausalLM(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Predicts the next token from the equilibrium of `nn.TransformerCell`.

    Padding may stand on either side and is that of `nn.Transformer`: what the model says of a
    sequence does not depend on it. There is no cache of keys and values, for every token is solved
    for anew: `generate` takes `use_cache=True` and does without. Whether a call converged is told
    by `deq.last`, and for every solve of a training by `integrations.transformers`.

    Args:
        config: Its sizes and its solver.
    """

    config_class = EquilibriumConfig
    supports_gradient_checkpointing = False  # the memory of a DEQ does not grow with its steps
    _supports_sdpa = True  # which is the only one

    def __init__(self, config: EquilibriumConfig) -> None:
        super().__init__(config)
        self.transformer = equilibrium_transformer(
            config.vocab_size,
            config.max_position_embeddings,
            config.hidden_size,
            config.num_attention_heads,
            blocks=config.num_hidden_layers,
            query_key_norm=config.query_key_norm,
            cap=config.cap,
            solver=Anderson(rtol=config.rtol, max_steps=config.max_steps, memory=config.memory),
            gradient=Implicit(
                solver=GMRES(rtol=config.adjoint_rtol, max_products=config.max_products)
            ),
            on_failure=config.on_failure,
        )
        self.generation_config.use_cache = False
        self.post_init()

    @property
    def deq(self) -> DEQ[Tensor]:
        """The layer that is solved."""
        deq = self.transformer.body
        assert isinstance(deq, DEQ)
        return deq

    @override
    def forward(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Tensor | None = None,
        labels: Int[Tensor, "B T"] | None = None,
        logits_to_keep: int | Tensor = 0,
        return_dict: bool | None = None,
        **others: Any,
    ) -> CausalLMOutput | tuple[Tensor, ...]:
        """Return the logits, and with labels the loss.

        Args:
            input_ids: The sequences.
            attention_mask: (B, T), 1 for tokens and 0 for padding; None if there is none.
            labels: The tokens once more, which are shifted here: position t is to predict t + 1.
                What is -100 does not count. A token that follows padding does, as it does in
                other models: it is predicted from nothing, at log(vocab_size).
            logits_to_keep: How many of the last positions are wanted, or their indices; 0 is all.
            return_dict: False returns a tuple.
            others: `num_items_in_batch`, by which the Trainer divides the loss.

        Raises:
            ValueError: There are more tokens than the positions that the model knows; the mask has
                another shape than they; or an argument is one of other models.
        """
        _refuse(others)
        present = _present(attention_mask, input_ids)
        states = self.transformer.states(input_ids, present=present)
        # -0 is the first.
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.transformer.logits(states[:, keep])
        loss = None
        if labels is not None:
            items = others.get("num_items_in_batch")
            loss = self.loss_function(
                logits, labels, vocab_size=self.config.vocab_size, num_items_in_batch=items
            )
        output = CausalLMOutput(loss=loss, logits=logits)
        wanted = self.config.return_dict if return_dict is None else return_dict
        return output if wanted else output.to_tuple()

    @override
    def prepare_inputs_for_generation(
        self,
        input_ids: Int[Tensor, "B T"],
        attention_mask: Tensor | None = None,
        logits_to_keep: int | None = None,
        **others: Any,
    ) -> dict[str, Any]:
        """Return the whole of the sequences, whatever `generate` takes to be cached."""
        asked = {name: others[name] for name in OF_OTHER_MODELS if name in others}
        if logits_to_keep is not None:  # not in every version
            asked["logits_to_keep"] = logits_to_keep
        return {"input_ids": input_ids, "attention_mask": attention_mask, **asked}

    @override
    def get_input_embeddings(self) -> nn.Embedding:
        return self.transformer.embedding

    @override
    def set_input_embeddings(self, value: nn.Embedding) -> None:
        self.transformer.embedding = value

    @override
    def get_output_embeddings(self) -> None:
        """Return none, for the head is the embedding itself."""

    @classmethod
    @override
    def _supports_default_dynamic_cache(cls) -> bool:
        return False

    @override
    def _validate_generated_length(
        self,
        generation_config: GenerationConfig,
        input_ids_length: int,
        has_default_max_length: bool,
    ) -> None:
        """Refuse to start what would end in an error."""
        super()._validate_generated_length(
            generation_config, input_ids_length, has_default_max_length
        )
        known, length = self.config.max_position_embeddings, generation_config.max_length
        if length > known:
            raise ValueError(
                f"the model knows {known} positions, and a prompt of {input_ids_length} with "
                f"{length - input_ids_length} new tokens takes {length}: ask for max_new_tokens of "
                f"at most {max(0, known - input_ids_length)}, or cut the prompt"
            )

    @override
    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """Draw what a checkpoint lacks as `nn.Transformer` draws it.

        The functions are those of `torch.nn.init`, which keep off what has been loaded.
        """
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=STD)
        elif isinstance(module, nn.RMSNorm):
            nn.init.ones_(module.weight)
        elif isinstance(module, nn.Linear):
            blocks = [part for part in self.modules() if isinstance(part, TransformerBlock)]
            outward = any(module in (block.attention.out, block.down) for block in blocks)
            nn.init.normal_(module.weight, std=STD / (2 * len(blocks)) ** 0.5 if outward else STD)
        elif isinstance(module, TransformerCell):
            nn.init.constant_(module.gate, math.log(GATE / (1 - GATE)))
            nn.init.constant_(module.cap, self.config.cap)


def _present(attention_mask: Tensor | None, input_ids: Tensor) -> Tensor | None:
    """Return where tokens are; None if everywhere, so that attention takes its causal kernel."""
    if attention_mask is None:
        return None
    if attention_mask.shape != input_ids.shape:
        raise ValueError(
            f"attention_mask must have the shape of input_ids, {tuple(input_ids.shape)}, got "
            f"{tuple(attention_mask.shape)}"
        )
    present = attention_mask.bool()
    return None if present.all() else present


def _refuse(others: dict[str, Any]) -> None:
    asked = [
        name
        for name, value in others.items()
        if name not in HARMLESS and value is not None and value is not False
    ]
    if asked:
        raise ValueError(
            f"EquilibriumForCausalLM takes input_ids, attention_mask, labels and logits_to_keep, "
            f"got {', '.join(asked)}: leave it out"
        )


AutoConfig.register(EquilibriumConfig.model_type, EquilibriumConfig, exist_ok=True)
AutoModelForCausalLM.register(EquilibriumConfig, EquilibriumForCausalLM, exist_ok=True)
