"""The texts that language recipes train on, and what is wrong with others."""

import math
from dataclasses import replace

import pytest
import torch

from deqlab.recipes import RECIPES
from deqlab.recipes.language.config import LanguageConfig
from deqlab.recipes.language.data import LanguageTask, text_of, windows
from deqlab.tasks.files.errors import DataError

SMOKE = RECIPES["language"].presets["smoke"]


def test_a_window_is_followed_by_the_next_token_and_may_end_with_the_text():
    tokens = torch.arange(50)
    x, y = windows(tokens, 4000, 7, torch.Generator().manual_seed(0))
    assert x.shape == y.shape == (4000, 7)
    assert torch.equal(y, x + 1)
    assert x.min() == 0
    assert y.max() == 49


def test_a_text_file_is_a_text(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("grüße aus der ferne. " * 100, encoding="utf-8")
    text = text_of(replace(SMOKE, text=str(path)))
    assert text.tokens.decode(text.train[:7]) == "grüße a"
    assert len(text.train) == 1890
    assert len(text.choice) == 0
    searched = text_of(replace(SMOKE, text=str(path), learning_rates=(1e-3, 1e-2)))
    assert len(searched.train) == len(searched.choice) * 9


def test_byte_pairs_are_learned_from_the_part_to_train_on():
    pytest.importorskip("tokenizers")
    text = text_of(replace(SMOKE, tokens="byte-pairs", vocabulary=300))
    assert text.tokens.num_tokens <= 300
    assert len(text.train) < 0.5 * 346_238
    assert text.tokens.decode(text.train[:20]).startswith("zero\nsix thousand")


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (b"", "has 0 characters, and needs two or more"),
        (b"abc" * 40, "part for validation has 12 characters, and networks see 16"),
        (b"\xff\xfe\xff", "is no text in UTF-8"),
    ],
)
def test_a_bad_text_is_refused_in_a_sentence(content, named, tmp_path):
    path = tmp_path / "bad.txt"
    path.write_bytes(content)
    with pytest.raises(DataError, match=named):
        text_of(replace(SMOKE, text=str(path)))


def test_a_text_that_is_not_there_is_named():
    with pytest.raises(DataError, match="'absent' is neither a text that `deqlab data` lists"):
        text_of(replace(SMOKE, text="absent"))


def test_the_learning_rate_rises_and_falls_to_a_tenth():
    task = LanguageTask(replace(SMOKE, steps=100, warmup=10))
    parameter = torch.nn.Parameter(torch.ones(2, 2))
    optimizer = torch.optim.AdamW([{"params": [parameter], "lr": 1.0}])
    schedule = task.schedule(optimizer, 1.0, 100)
    rates = []
    for _ in range(100):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[0] == pytest.approx(1 / 11)
    assert max(rates) == rates[10] == 1
    assert rates[55] == pytest.approx(0.1 + 0.9 * 0.5)
    assert rates[-1] == pytest.approx(0.1, abs=1e-3)


def test_an_untrained_model_knows_nothing_of_the_text():
    task = LanguageTask(SMOKE)
    torch.manual_seed(0)
    row = task.tested(RECIPES["language"].arms["twin-parameters"].make(SMOKE, task.data))
    assert row["validation_loss"] == pytest.approx(math.log(22), rel=0.05)
    assert row["perplexity"] == pytest.approx(math.exp(row["validation_loss"]))


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"tokens": "words"}, "tokens"),
        ({"vocabulary": 100}, "vocabulary must be 256 or more"),
        ({"width": 30, "heads": 4}, "width must be a multiple of heads = 4"),
        ({"steps": 0}, "steps"),
        ({"length": 0}, "length"),
    ],
)
def test_settings_out_of_their_domain_are_named(settings, named):
    with pytest.raises(ValueError, match=named):
        LanguageConfig(**settings)
