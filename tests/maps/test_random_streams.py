"""The order of two states of a generator, against the numbers drawn between them."""

import pytest
import torch

from deqlab.maps.random_streams import is_at_or_before


def states(*draws):
    """Return the states of one generator at the start and after each of `draws`."""
    generator = torch.Generator().manual_seed(0)
    found = [generator.get_state()]
    for draw in draws:
        draw(generator)
        found.append(generator.get_state())
    return found


def singles(count):
    return lambda generator: torch.rand(count, generator=generator)


def doubles(count):
    return lambda generator: torch.rand(count, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("between", [1, 2, 3, 623, 624, 625, 5_000, 1_000_000])
@pytest.mark.parametrize("before", [0, 1, 600, 624])
def test_who_has_drawn_less_comes_first(before, between):
    generator = torch.default_generator
    _, first, second = states(singles(before), singles(between))
    assert is_at_or_before(generator, first, second)
    assert not is_at_or_before(generator, second, first)


def test_a_state_is_at_itself():
    (state,) = states()
    assert is_at_or_before(torch.default_generator, state, state.clone())


@pytest.mark.parametrize(
    "draw",
    [
        doubles(5),
        lambda generator: torch.randn(3, generator=generator),
        lambda generator: torch.randn(40, generator=generator),
        lambda generator: torch.randperm(9, generator=generator),
        lambda generator: torch.empty(7).bernoulli_(0.5, generator=generator),
        lambda generator: torch.multinomial(torch.ones(4), 2, generator=generator),
    ],
    ids=["double", "few-normal", "normal", "permutation", "bernoulli", "multinomial"],
)
def test_whatever_is_drawn(draw):
    _, first, second = states(singles(2), draw)
    assert is_at_or_before(torch.default_generator, first, second)
    assert not is_at_or_before(torch.default_generator, second, first)


class Philox(torch.Generator):
    """A generator of a device: its state is (seed, offset)."""

    device = torch.device("cuda")

    def __new__(cls, device):
        assert device == cls.device
        return super().__new__(cls)

    def __init__(self, device):
        pass

    def set_state(self, state):
        self.seed, self.offset = state.tolist()

    def initial_seed(self):
        return self.seed

    def get_offset(self):
        return self.offset


def test_on_a_device_the_counter_of_one_seed_decides(monkeypatch):
    generator = Philox(Philox.device)
    monkeypatch.setattr(torch, "Generator", Philox)
    first, second, other = (torch.tensor(s) for s in ([5, 4], [5, 8], [6, 12]))
    assert is_at_or_before(generator, first, second)
    assert not is_at_or_before(generator, second, first)
    assert not is_at_or_before(generator, first, other)
    assert is_at_or_before(generator, other, other.clone())


def test_states_of_two_seeds_are_in_no_order():
    first = torch.Generator().manual_seed(0).get_state()
    second = torch.Generator().manual_seed(1).get_state()
    assert not is_at_or_before(torch.default_generator, first, second)
    assert not is_at_or_before(torch.default_generator, second, first)
