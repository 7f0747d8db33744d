"""The language model for Hugging Face says what `equilibrium_transformer` says, and is trained."""

import json
import math
from functools import partial

import pytest
import torch
from torch.nn.functional import cross_entropy

from deqlab import Anderson, Implicit
from deqlab.gradients import GMRES
from deqlab.nn import equilibrium_transformer
from deqlab.training import ConvergenceLog, RateControl

pytest.importorskip("transformers", exc_type=ImportError)
pytest.importorskip("accelerate", exc_type=ImportError)

from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForCausalLM, Trainer, TrainingArguments

from deqlab.integrations.causal_lm import EquilibriumForCausalLM
from deqlab.integrations.causal_lm_config import EquilibriumConfig
from deqlab.integrations.transformers import EquilibriumCallback

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*pin_memory.*no accelerator"),
]

TOKENS, LENGTH = 11, 16
SIZES = {
    "vocab_size": TOKENS,
    "max_position_embeddings": LENGTH,
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "pad_token_id": 0,
}
GENERATOR = torch.Generator().manual_seed(0)
LONG, SHORT = (torch.randint(1, TOKENS, (1, count), generator=GENERATOR) for count in (7, 4))
LEFT = torch.cat([LONG, torch.cat([torch.zeros(1, 3, dtype=torch.int64), SHORT], dim=1)])
RIGHT = torch.cat([LONG, torch.cat([SHORT, torch.zeros(1, 3, dtype=torch.int64)], dim=1)])


def model(**options):
    torch.manual_seed(0)
    made = EquilibriumForCausalLM(EquilibriumConfig(**SIZES | {"cap": 0.5} | options)).eval()
    for weights in made.parameters():
        if weights.ndim > 1:
            weights.data.mul_(8)  # so that texts do not repeat one token
    return made


def loss_by_hand(made, sequences):
    """The mean over the tokens that another stands before, each sequence on its own."""
    lines = [made.transformer(each)[0] for each in sequences]
    targets = torch.cat([each[0, 1:] for each in sequences])
    return cross_entropy(torch.cat([line[:-1] for line in lines]), targets)


def continued(made, prompt, count, choose):
    for _ in range(count):
        logits = made.transformer(prompt)[:, -1]
        prompt = torch.cat([prompt, choose(logits)], dim=1)
    return prompt


greedy = partial(continued, choose=lambda logits: logits.argmax(-1, keepdim=True))
drawn = partial(continued, choose=lambda logits: torch.multinomial(logits.softmax(-1), 1))


def test_logits_are_those_of_the_transformer_with_the_same_weights():
    adjoint = {"adjoint_rtol": 1e-3, "max_products": 7}
    made = model(rtol=1e-3, max_steps=30, memory=3, query_key_norm=False, **adjoint)
    twin = equilibrium_transformer(
        *(TOKENS, LENGTH, 8, 2),
        blocks=2,
        cap=0.2,
        query_key_norm=False,
        solver=Anderson(rtol=1e-3, max_steps=30, memory=3),
        gradient=Implicit(solver=GMRES(rtol=1e-3, max_products=7)),
    )
    twin.load_state_dict(made.transformer.state_dict())
    output = made(LONG)
    assert output.keys() == {"logits"}
    assert torch.equal(output.logits, twin(LONG))
    assert made.deq.last.converged.all()
    assert torch.equal(made(LONG, logits_to_keep=2).logits, output.logits[:, -2:])
    picked = torch.tensor([0, 3])
    assert torch.equal(made(LONG, logits_to_keep=picked).logits, output.logits[:, picked])
    assert torch.equal(made(LONG, return_dict=False)[0], output.logits)
    assert (made.deq.solver, made.deq.gradient) == (twin.body.solver, twin.body.gradient)


def test_the_loss_is_that_of_the_next_token_and_padding_takes_no_part():
    made = model(rtol=1e-6, max_steps=100)
    present = RIGHT != 0
    labels = RIGHT.masked_fill(~present, -100)
    told = {"attention_mask": present.long(), "labels": labels}
    expected = loss_by_hand(made, [LONG, SHORT])
    torch.testing.assert_close(made(RIGHT, **told).loss, expected)
    # What the Trainer says of all batches of a step, of which this has half the tokens.
    torch.testing.assert_close(made(RIGHT, **told, num_items_in_batch=18).loss, expected / 2)
    labels[0, 5:] = -100
    torch.testing.assert_close(made(RIGHT, **told).loss, loss_by_hand(made, [LONG[:, :5], SHORT]))


def test_the_first_token_after_padding_is_predicted_from_nothing():
    made = model()
    present = LEFT != 0
    labels = LEFT.masked_fill(~present, -100)
    loss = made(LEFT, attention_mask=present.long(), labels=labels).loss
    tokens, uniform = 6 + 3, math.log(TOKENS)
    expected = (tokens * loss_by_hand(made, [LONG, SHORT]) + uniform) / (tokens + 1)
    torch.testing.assert_close(loss, expected)


def test_it_writes_what_a_loop_writes():
    made = model()
    write = partial(made.generate, LONG, max_new_tokens=8, eos_token_id=None)
    text = greedy(made, LONG, 8)
    assert len(text.unique()) > 4
    assert torch.equal(write(do_sample=False), text)
    torch.manual_seed(1)
    sampled = write(do_sample=True, top_k=0)
    torch.manual_seed(1)
    assert torch.equal(sampled, drawn(made, LONG, 8))
    assert not torch.equal(sampled, text)


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"use_cache": True}], ids=str)
def test_prompts_of_a_batch_are_written_as_alone(options):
    made = model()
    write = partial(made.generate, max_new_tokens=6, do_sample=False, eos_token_id=None, **options)
    together = write(LEFT, attention_mask=(LEFT != 0).long())
    for row, prompt in zip(together, (LONG, SHORT), strict=True):
        assert torch.equal(row[7 - prompt.shape[1] :], write(prompt)[0])
        if "num_beams" not in options:
            assert torch.equal(write(prompt), greedy(made, prompt, 6))


def test_it_writes_to_the_end_of_its_positions_and_no_farther():
    made, solves = model(), []
    made.deq.observers.append(solves.append)
    write = partial(made.generate, LONG, do_sample=False, eos_token_id=None)
    assert write(max_new_tokens=9).shape == (1, LENGTH)
    assert len(solves) == 9
    with pytest.raises(ValueError, match=r"knows 16 positions, .* max_new_tokens of at most 9"):
        write(max_new_tokens=10)
    assert len(solves) == 9  # it says so before it has begun
    with pytest.raises(ValueError, match="knows 16 positions, got sequences of length 17"):
        made(torch.ones(1, 17, dtype=torch.int64))


def test_it_is_saved_with_its_knob_and_comes_back(tmp_path):
    made = model(rtol=3e-3, on_failure="raise")
    made.deq.cell.cap.fill_(0.123)
    made.save_pretrained(tmp_path)
    again, told = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(told.values())
    assert isinstance(again, EquilibriumForCausalLM)
    assert not again.training
    assert again.deq.cell.cap.item() == pytest.approx(0.123)
    assert (again.deq.solver, again.deq.on_failure) == (made.deq.solver, "raise")
    assert torch.equal(again(LONG).logits, made(LONG).logits)
    assert again.generation_config.use_cache is False
    assert set(load_file(tmp_path / "model.safetensors")) == made.state_dict().keys()
    config = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(config, EquilibriumConfig)
    assert config.rtol == 3e-3
    stored = json.loads((tmp_path / "config.json").read_text())
    assert stored["model_type"] == "equilibrium_transformer"


def test_what_a_file_lacks_is_drawn_and_nothing_else(tmp_path):
    made = model(hidden_size=64, num_attention_heads=2)
    made.deq.cell.cap.fill_(0.123)
    made.save_pretrained(tmp_path)
    file = tmp_path / "model.safetensors"
    weights = load_file(file)
    inside = "transformer.body.cell."
    lost = {
        f"{inside}blocks.1.up.weight": 0.02,
        f"{inside}blocks.1.down.weight": 0.01,  # two blocks
        f"{inside}blocks.0.attention.out.weight": 0.01,
        "transformer.position.weight": 0.02,
    }
    lost_too = {f"{inside}gate": 0.75, "transformer.norm.weight": 1.0}
    kept = {name: each for name, each in weights.items() if name not in lost | lost_too}
    save_file(kept, file, metadata={"format": "pt"})
    again, told = EquilibriumForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert set(told["missing_keys"]) == lost.keys() | lost_too.keys()
    state = again.state_dict()
    for name, std in lost.items():
        assert state[name].std().item() == pytest.approx(std, rel=0.1)
    assert state[f"{inside}gate"].sigmoid().mean().item() == pytest.approx(0.75)
    assert (state["transformer.norm.weight"] == 1).all()
    assert all(torch.equal(state[name], each) for name, each in kept.items())
    del kept[f"{inside}cap"]
    save_file(kept, file, metadata={"format": "pt"})
    assert EquilibriumForCausalLM.from_pretrained(tmp_path).deq.cell.cap.item() == 0.5


def test_a_new_one_is_drawn_as_a_transformer_is():
    config = EquilibriumConfig(**SIZES | {"hidden_size": 64, "vocab_size": 200})
    twin = equilibrium_transformer(200, LENGTH, 64, 2, blocks=2)
    state = EquilibriumForCausalLM(config).transformer.state_dict()
    for name, weights in twin.state_dict().items():
        spread = weights.std().item() if weights.numel() > 1 else 0.0
        assert state[name].mean().item() == pytest.approx(weights.mean().item(), abs=2e-3)
        found = state[name].std().item() if weights.numel() > 1 else 0.0
        assert found == pytest.approx(spread, rel=0.1)


def test_a_vocabulary_that_grows_keeps_what_it_knew():
    made = model()
    logits = made(LONG).logits
    made.resize_token_embeddings(TOKENS + 3, mean_resizing=False)
    grown = made(LONG, labels=LONG)
    assert grown.logits.shape[-1] == made.config.vocab_size == TOKENS + 3
    torch.testing.assert_close(grown.logits[..., :TOKENS], logits)
    assert grown.loss.isfinite()


def test_what_it_has_not_is_refused():
    made = model()
    for name, value in (("position_ids", LONG), ("output_hidden_states", True)):
        with pytest.raises(ValueError, match=f"takes input_ids, .* got {name}: leave it out"):
            made(LONG, **{name: value})
        with pytest.raises(ValueError, match=name):
            made.generate(LONG, max_new_tokens=2, return_dict_in_generate=True, **{name: value})
    with pytest.raises(ValueError, match=r"the shape of input_ids, \(1, 7\), got \(1, 6\)"):
        made(LONG, attention_mask=torch.ones(1, 6))
    enable = getattr(made, "activation_checkpointing_enable", made.gradient_checkpointing_enable)
    with pytest.raises(ValueError, match="EquilibriumForCausalLM does not support"):
        enable()


def test_a_configuration_says_what_is_wrong_with_it():
    assert EquilibriumConfig(**SIZES) == EquilibriumConfig(**SIZES)
    assert EquilibriumConfig(**SIZES) != EquilibriumConfig(**SIZES | {"hidden_size": 16})
    with pytest.raises(ValueError, match="hidden_size must be at least 1, got 0"):
        EquilibriumConfig(**SIZES | {"hidden_size": 0})
    with pytest.raises(ValueError, match="tie_word_embeddings must be True, got False"):
        EquilibriumConfig(**SIZES, tie_word_embeddings=False)


def trainer(path, made, *callbacks, **settings):
    # Sequences of unequal lengths, in which each token is the one before and one more.
    starts = torch.randint(0, 5, (24,), generator=torch.Generator().manual_seed(2)).tolist()
    texts = [[(start + t) % 10 + 1 for t in range(5 + start)] for start in starts]
    return Trainer(
        made,
        TrainingArguments(
            str(path),
            learning_rate=1e-2,
            lr_scheduler_type="constant",
            report_to="none",
            use_cpu=True,
            disable_tqdm=True,
            **{"save_strategy": "no", "per_device_train_batch_size": 6} | settings,
        ),
        train_dataset=[{"input_ids": text, "labels": text} for text in texts],
        eval_dataset=[{"input_ids": text, "labels": text} for text in texts[:7]],
        data_collator=padded,
        callbacks=[*callbacks],
    )


def padded(samples):
    texts = [torch.tensor(each["input_ids"]) for each in samples]
    batch = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True)
    present = batch != 0
    labels = batch.masked_fill(~present, -100)
    return {"input_ids": batch, "attention_mask": present.long(), "labels": labels}


def test_the_trainer_keeps_it_at_its_equilibrium(tmp_path):
    torch.manual_seed(0)
    made = EquilibriumForCausalLM(EquilibriumConfig(**SIZES, rtol=1e-3))
    watcher = EquilibriumCallback(control=partial(RateControl, target=0.3), log=ConvergenceLog)
    settings = {"num_train_epochs": 8, "logging_steps": 8, "save_strategy": "epoch"}
    ran = trainer(tmp_path, made, watcher, **settings)
    before = ran.evaluate()["eval_loss"]
    ran.train()
    told = [entry for entry in ran.state.log_history if "loss" in entry]
    assert [entry["step"] for entry in told] == [8, 16, 24, 32]
    assert told[-1]["loss"] < told[0]["loss"] - 0.3
    assert ran.evaluate()["eval_loss"] < before - 0.3
    layer = "transformer.body"
    for entry, row in zip(told, watcher.convergence.rows, strict=True):
        assert entry[f"{layer}/train_converged"] == row["train_converged"] == 1
        assert entry[f"{layer}/evaluations"] == row["evaluations"] > 2
    cap = made.deq.cell.cap.item()
    assert told[-1][f"{layer}/control/cap"] == cap > 0.042
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "checkpoint-32")
    assert again.deq.cell.cap.item() == cap
    assert torch.equal(again(LONG).logits, made.eval()(LONG).logits)


def test_accumulated_batches_are_one_batch(tmp_path):
    # Sequences have unequal lengths, so that a mean of means would be another gradient.
    ends = []
    for size, accumulate in ((6, 1), (2, 3)):
        made = model(rtol=1e-5, max_steps=60, adjoint_rtol=1e-5, max_products=60)
        settings = {
            "per_device_train_batch_size": size,
            "gradient_accumulation_steps": accumulate,
            "max_steps": 1,
            "optim": "sgd",
            "max_grad_norm": 0.0,
        }
        before = {name: each.clone() for name, each in made.state_dict().items()}
        trainer(tmp_path, made, **settings).train()
        ends.append({name: each - before[name] for name, each in made.state_dict().items()})
    for name, change in ends[0].items():
        torch.testing.assert_close(ends[1][name], change, rtol=1e-3, atol=2e-7)


def test_an_evaluation_is_the_loss_by_hand(tmp_path):
    made = model(rtol=1e-5, max_steps=60)
    ran = trainer(tmp_path, made, per_device_eval_batch_size=7)
    texts = [torch.tensor([each["input_ids"]]) for each in ran.eval_dataset]
    expected = loss_by_hand(made, texts).item()
    assert ran.evaluate()["eval_loss"] == pytest.approx(expected, rel=1e-4)
