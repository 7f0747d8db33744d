"""Whether autograd sees how f depends on its inputs and its parameters, by difference quotients.

Where f detaches an input or a parameter, the fixed point is right, and its gradient to them is zero
without a word. As in `derivatives`, u'(df/dp)d by autograd is compared with quotients of f along d,
at the fixed points, for random u and d; here p is an input as the caller gave it, or a parameter.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from deqlab.diagnosis.probes.derivatives import DIRECTIONS, WRONG, quotients, rms
from deqlab.diagnosis.subject import Problem, Subject
from deqlab.maps.reachable import reachable

MOST = 64
"""So many parameters are looked at one by one; more are judged together only."""


@dataclass(frozen=True, kw_only=True)
class HiddenGradients:
    """What f depends on, and autograd does not see, or sees wrongly.

    Attributes:
        inputs: Its inputs, in words.
        parameters: Its parameters, in words.
    """

    inputs: tuple[str, ...]
    parameters: tuple[str, ...]


def hidden_gradients(
    subject: Subject, problem: Problem, z: Float[Tensor, "B D"], seed: int
) -> HiddenGradients:
    """Compare at z, the fixed points where there are any.

    Args:
        subject: What is asked about.
        problem: Its problem.
        z: Finite states.
        seed: Of the directions, and of what f draws.
    """
    names, given = _inputs(subject)
    found = _Comparison(subject, problem, z, seed, given)
    inputs = [i for i in range(len(given)) if found.is_wrong([i])]
    known = _parameters(problem)
    found = _Comparison(subject, problem, z, seed, given, list(known.values()))
    many = range(len(given), len(given) + len(known))
    alone = list(many) if many and found.is_wrong(many) else found.without_gradient(many)
    parameters = [i for i in alone[:MOST] if found.is_wrong([i])]
    labels = [*names, *known]
    return HiddenGradients(
        inputs=tuple(labels[i] for i in inputs), parameters=tuple(labels[i] for i in parameters)
    )


def _inputs(subject: Subject) -> tuple[list[str], list[Tensor]]:
    """Return the inputs that have derivatives, with what each is called."""
    every = {f"input {i}": value for i, value in enumerate(subject.inputs)}
    every |= dict(subject.keywords)
    found = [(name, each) for name, value in every.items() for each in tree_flatten(value)[0]]
    floats = [(n, t) for n, t in found if isinstance(t, Tensor) and t.is_floating_point()]
    return [name for name, _ in floats], [tensor for _, tensor in floats]


def _parameters(problem: Problem) -> dict[str, Tensor]:
    """Return the parameters that f can name and that are trained, by what each is called."""
    named: dict[str, Tensor] = {
        f"{name} of {label}": parameter
        for label, module in problem.modules
        for name, parameter in module.named_parameters(recurse=False)
    }
    seen = set(map(id, named.values()))
    for tensor in reachable(problem.f.f).tensors:
        if tensor.is_leaf and id(tensor) not in seen:
            seen.add(id(tensor))
            named[f"a tensor of shape {tuple(tensor.shape)}"] = tensor
    return {
        name: each
        for name, each in named.items()
        if each.requires_grad and each.is_floating_point() and each.numel()
    }


class _Comparison:
    """Autograd against quotients, for inputs and parameters by their place in a list."""

    def __init__(
        self,
        subject: Subject,
        problem: Problem,
        z: Float[Tensor, "B D"],
        seed: int,
        given: Sequence[Tensor],
        parameters: Sequence[Tensor] = (),
    ) -> None:
        self._subject, self._z, self._seed = subject, z, seed
        self._given = [each.detach().clone() for each in given]
        self._parameters = list(parameters)
        self._eps = torch.finfo(problem.f.lowered or z.dtype).eps
        self._random = torch.Generator().manual_seed(seed)
        self._image = self._value(self._given).detach()
        self._size = torch.maximum(rms(z), rms(self._image).nan_to_num(0, 0, 0))[:, None]
        self._size = torch.where(self._size > 0, self._size, 1.0)

    def is_wrong(self, places: Sequence[int]) -> bool:
        """Return whether the derivative along directions in these is wrong by autograd."""
        errors = [self._error(places) for _ in range(DIRECTIONS)]
        return bool(torch.tensor(errors).nanmedian() > WRONG)

    def without_gradient(self, places: Sequence[int]) -> list[int]:
        """Return which of these have a gradient of zero."""
        gradients = self._gradients(self._drawn(self._z))
        return [i for i in places if not bool(gradients[i].any())]

    def _error(self, places: Sequence[int]) -> float:
        every = [*self._given, *self._parameters]
        directions = {i: self._drawn(every[i]) * _scale(every[i]) for i in places}
        h = torch.full_like(self._size, self._eps ** (1 / 3))
        quotient, trusted, noise = quotients(
            self._along(directions), self._image, h, self._eps * self._size
        )
        if not bool(trusted.any()):
            return float("nan")
        u = torch.where(trusted, self._drawn(self._z), 0.0)
        gradients = self._gradients(u)
        by_autograd = torch.cat(
            [(gradients[i] * d).double().flatten() for i, d in directions.items()]
        )
        by_quotient = (u * torch.where(trusted, quotient, 0.0)).double()
        off = (by_autograd.sum() - by_quotient.sum()).abs() - (u * noise).double().norm()
        scale = torch.maximum(by_autograd.norm(), by_quotient.norm())
        return float(off.clamp_min(0) / torch.where(scale > 0, scale, 1.0))

    def _along(self, directions: dict[int, Tensor]) -> Callable[[Tensor], Tensor]:
        many = len(self._given)

        def along(h: Tensor) -> Tensor:
            step = float(h[0, 0])
            moved = [
                each + step * directions[i] if i in directions else each
                for i, each in enumerate(self._given)
            ]
            before = [each.data for each in self._parameters]
            try:
                for i, direction in directions.items():
                    if i >= many:  # by its data: the tapes of others stay as they are
                        parameter = self._parameters[i - many]
                        parameter.data = parameter.data + step * direction
                with torch.no_grad():
                    return self._value(moved)
            finally:
                for parameter, data in zip(self._parameters, before, strict=True):
                    parameter.data = data

        return along

    def _gradients(self, u: Float[Tensor, "B D"]) -> list[Tensor]:
        """Return the gradients of <u, f(z)>, zeros where there is none."""
        with torch.enable_grad():
            leaves = [each.detach().requires_grad_() for each in self._given]
            out = self._value(leaves)
            every = [*leaves, *self._parameters]
            if not out.requires_grad:
                return [torch.zeros_like(each) for each in every]
            found = torch.autograd.grad(out, every, u, allow_unused=True)
        return [
            torch.zeros_like(each) if gradient is None else gradient
            for gradient, each in zip(found, every, strict=True)
        ]

    def _value(self, given: Sequence[Tensor]) -> Float[Tensor, "B D"]:
        """Return f(z) at these inputs, from what `prepare` makes of them on."""
        leaves, tree = tree_flatten((self._subject.inputs, dict(self._subject.keywords)))
        rest = iter(given)
        leaves = [
            next(rest) if isinstance(each, Tensor) and each.is_floating_point() else each
            for each in leaves
        ]
        inputs, keywords = tree_unflatten(leaves, tree)
        with torch.random.fork_rng():
            torch.manual_seed(self._seed)
            problem = replace(self._subject, inputs=inputs, keywords=keywords).problem()
            return problem.map(self._z)

    def _drawn(self, like: Tensor) -> Tensor:
        drawn = torch.randn(like.shape, generator=self._random, dtype=torch.float64)
        return drawn.to(like)


def _scale(tensor: Tensor) -> Tensor:
    """Return the size of the numbers of a tensor; 1 where all are zero."""
    size = tensor.detach().square().mean().sqrt()
    return torch.where(size > 0, size, 1.0)
