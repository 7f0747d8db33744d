"""What f can reach: wherever a module stands that Python code can name, it is found."""

import functools
import types
import weakref

import pytest
import torch
from torch import nn

from deqlab.maps.reachable import NOTHING_FOUND, reachable

GLOBAL = nn.BatchNorm1d(3)
HOLDER = types.SimpleNamespace(parts=[{"norm": GLOBAL}])
LIBRARY = types.ModuleType("somebodys_models")
LIBRARY.norm = GLOBAL


def by_name(z):
    return GLOBAL(z)


def by_another(z):
    return by_name(z)


def within(z):
    return [(lambda y: GLOBAL(y))(part) for part in z]


def of_a_library(z):
    return LIBRARY.norm(z)


def of_a_holder(z):
    return HOLDER.parts[0]["norm"](z)


class Callable:
    def __init__(self, norm):
        self.norm = norm

    def __call__(self, z):
        return self.norm(z)

    def method(self, z):
        return self.norm(z)


class Slotted:
    __slots__ = ("norm",)

    def __init__(self, norm):
        self.norm = norm

    def __call__(self, z):
        return self.norm(z)


class Property(nn.Module):
    def forward(self, z):
        return self.norm(z)

    @property
    def norm(self):
        return GLOBAL


class Kept(nn.Module):
    def forward(self, z):
        return self.norm(z)

    @functools.cached_property
    def norm(self):
        return GLOBAL


class Static(nn.Module):
    def forward(self, z):
        return self.norm(z)

    @staticmethod
    def norm(z):
        return GLOBAL(z)


class Weak(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norm = weakref.ref(norm)

    def forward(self, z):
        return self.norm()(z)


class Named(nn.Module):
    """A module that reaches another by the name of a global, through a method of its base."""

    def forward(self, z):
        return self.helper(z)

    def helper(self, z):
        return GLOBAL(z)


class Derived(Named):
    pass


class Unregistered(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.norms = [norm]

    def forward(self, z):
        return self.norms[0](z)


def closing(norm):
    return lambda z: norm(z)


def defaulted(z, norm=GLOBAL):
    return norm(z)


def keyword(z, *, norm=GLOBAL):
    return norm(z)


def wrapped(function):
    @functools.wraps(function)
    def inner(*args):
        return function(*args)

    return inner


WAYS = {
    "itself": GLOBAL,
    "a submodule": nn.Sequential(nn.Identity(), nn.Sequential(GLOBAL)),
    "bound method": GLOBAL.forward,
    "method of an object": Callable(GLOBAL).method,
    "callable object": Callable(GLOBAL),
    "slots": Slotted(GLOBAL),
    "partial": functools.partial(lambda norm, z: norm(z), GLOBAL),
    "partial by keyword": functools.partial(lambda z, norm: norm(z), norm=GLOBAL),
    "partial of a partial": functools.partial(functools.partial(closing(GLOBAL)), None),
    "closure": closing(GLOBAL),
    "closure of a closure": closing(closing(closing(GLOBAL))),
    "closure over a container": closing({"a": [(GLOBAL,)]}),
    "default": defaulted,
    "keyword default": keyword,
    "global": by_name,
    "global of a global": by_another,
    "function within": within,
    "module of Python": of_a_library,
    "attributes": of_a_holder,
    "decorated": wrapped(by_name),
    "torch.no_grad": torch.no_grad()(by_name),
    "class of a module": Derived(),
    "list of a module": Unregistered(GLOBAL),
    "property": Property(),
    "cached property": Kept(),
    "static method of a module": Static(),
    "weak reference": Weak(GLOBAL),
    "weak dictionary": closing(weakref.WeakValueDictionary(norm=GLOBAL)),
    "static method": staticmethod(by_name).__func__,
}


@pytest.mark.parametrize("f", WAYS.values(), ids=WAYS)
def test_a_module_is_found(f):
    modules = reachable(f).modules
    assert any(module is GLOBAL for module in modules)
    assert len(modules) == len({id(module) for module in modules})


def test_a_module_in_args_is_found():
    weight = torch.zeros(2)
    found = reachable(lambda z, norm: norm(z), (weight, GLOBAL))
    assert found.modules == [GLOBAL]
    assert found.tensors[0] is weight


def test_a_generator_is_found():
    own = torch.Generator()
    assert reachable(lambda z: torch.bernoulli(z, generator=own)).generators == [own]


def test_circles_data_and_objects_that_answer_to_any_name_end_the_walk():
    circle = []
    circle.append(circle)

    class Anything:
        def __getattr__(self, name):
            return Anything()

    data = list(range(10**6))
    assert reachable(lambda: (circle, data, Anything())) == NOTHING_FOUND


def test_a_name_without_a_value_yet_is_passed_over():
    def f(z):
        return later(z)

    assert reachable(f) == NOTHING_FOUND
    later = GLOBAL
    assert reachable(f).modules == [later]
