"""`--set` reaches every field, with its type, and a mistake is one sentence."""

from dataclasses import dataclass

import pytest

from deqlab.cli.overrides import MAX_SEEDS, first_seeds, one_of, override
from deqlab.experiments.config import Config, UsageError


@dataclass(frozen=True, kw_only=True)
class Sizes(Config):
    width: int = 10
    rate: float = 0.5
    name: str = "relu"
    depths: tuple[int, ...] = (1, 2)
    flag: bool = False
    words: tuple[str, ...] = ()

    def __post_init__(self):
        super().__post_init__()
        if self.width < 1:
            raise ValueError(f"width must be at least 1, got {self.width}")


def test_every_type_is_parsed():
    settings = ["width=3", "rate=1e-3", "name=a=b", "depths=4, 5,6", "flag=True", "words=a, b"]
    assert override(Sizes(), settings) == Sizes(
        width=3, rate=1e-3, name="a=b", depths=(4, 5, 6), flag=True, words=("a", "b")
    )


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("widht=3", "no field named 'widht'; did you mean 'width'"),
        ("zzz=3", "no field named 'zzz'; known are seeds, width, rate, name, depths, flag, words"),
        ("width", "takes FIELD=VALUE, got 'width'"),
        ("width=2.5", "--set width takes an integer such as 10, got '2.5'"),
        ("rate=fast", "--set rate takes a number such as 0.5, got 'fast'"),
        ("depths=1;2", "--set depths takes integers, separated by commas, such as 1,2, got '1;2'"),
        ("flag=perhaps", "--set flag takes true or false such as False, got 'perhaps'"),
        ("width=-3", "--set width=-3: width must be at least 1, got -3"),
        ("width=100000001", "--set width=100000001: a number must be at most 100,000,000"),
        ("width=" + "9" * 30, "a number must be at most 100,000,000"),
        ("width=-" + "9" * 30, "a number must be at most 100,000,000"),
        ("width=" + "9" * 5000, "--set width takes an integer such as 10"),
        ("depths=1,99999999999", "a number must be at most 100,000,000"),
        ("rate=nan", "--set rate takes a number such as 0.5, got 'nan'"),
        ("rate=inf", "--set rate takes a number such as 0.5, got 'inf'"),
        ("rate=1e999", "--set rate takes a number such as 0.5, got '1e999'"),
    ],
)
def test_a_mistake_is_one_sentence(setting, message):
    with pytest.raises(UsageError) as error:
        override(Sizes(), [setting])
    assert message in str(error.value)


def test_a_known_name_is_returned():
    assert one_of("b", ["a", "b"], what="letter") == "b"


def test_so_many_seeds_that_nobody_means_them_are_refused_before_they_are_made():
    assert first_seeds(3) == (0, 1, 2)
    assert len(first_seeds(MAX_SEEDS)) == MAX_SEEDS
    for count in (MAX_SEEDS + 1, 99999999999, 10**30):
        with pytest.raises(UsageError, match="--seeds must be at most 10,000, got "):
            first_seeds(count)
