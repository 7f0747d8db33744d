"""The layers of torchdeq, called as there: `z_out, info = deq(func, z0)`.

A layer holds a `DEQ` whose input is the map of the call; its solver and gradient are what
`translate` returns for the options. In train mode a call returns a list of states, the last of
which is the equilibrium with its gradient. The others are for fixed-point correction, a loss on
states on the way: with z_s after s iterations they are k damped steps from z_s, which a tape
records. `DEQIndexing` takes the z_s of one solve, and `DEQSliced` starts another solve from each
such state. In eval mode a call returns the equilibrium alone, without a gradient.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.utils._pytree import tree_map
from typing_extensions import override

from deqlab.compat.torchdeq.dropout import reset_dropout
from deqlab.compat.torchdeq.info import MeasuredMap, SolverStat
from deqlab.compat.torchdeq.left_out import found_by
from deqlab.compat.torchdeq.norm import reset_norm
from deqlab.compat.torchdeq.options import NAMES, Config, Options, read
from deqlab.compat.torchdeq.translation import Translation, checked_settings, native, translate
from deqlab.errors import OnFailure
from deqlab.nn.deq import DEQ
from deqlab.solution import Solution
from deqlab.solve import fixed_point
from deqlab.stability.spectral import spectral_radius

__getattr__ = found_by(__name__)


class DEQBase(nn.Module, ABC):
    """What both layers share; see the module.

    Args:
        args: A Namespace, a dict, or an object with the options as attributes.
        on_failure: What a sample that misses its tolerance does: "raise", "warn" or "ignore".
        batched: False makes the whole state one sample: for maps that couple their rows.
        options: Options by name, which go before `args`.

    Attributes:
        options: The options, which do not change.
        layer: The layer of deqlab that solves, with the solver and gradient of the last call; its
            `last` has the verdicts.
    """

    core = ""

    def __init__(
        self,
        args: Config = None,
        *,
        on_failure: OnFailure = "warn",
        batched: bool = True,
        **options: object,
    ) -> None:
        super().__init__()
        self.options: Options = read(args, options | {"core": self.core})
        solver, gradient = translate(self.options)
        self.layer: DEQ[Any] = DEQ(
            _Call(),
            solver=solver,
            gradient=gradient,
            on_failure=on_failure,
            batched=batched,
            name=type(self).__name__,
        )

    @override
    def __setattr__(self, name: str, value: Any) -> None:
        if name in NAMES:
            raise AttributeError(
                f"{name} is fixed once the layer is made: make another by get_deq({name}=...), or "
                "pass what one call shall differ in as solver_kwargs"
            )
        super().__setattr__(name, value)

    @override
    def forward(
        self,
        func: Callable[..., Any],
        z_init: Any,
        solver_kwargs: Mapping[str, Any] | None = None,
        sradius_mode: bool = False,
        backward_writer: object = None,
    ) -> tuple[list[Any], SolverStat]:
        """Return the states and what the solve measured.

        Args:
            func: The map: `func(z)` for one tensor, `func(*z)` for several, which returns as many.
            z_init: Where to start: a tensor of shape (B, *S), or a list or tuple of such.
            solver_kwargs: Settings of this call: f_max_iter, and what the solver reads.
            sradius_mode: In eval mode, measure the spectral radius at the equilibrium.
            backward_writer: Has no counterpart, and must be None.

        Returns:
            A list of states, each a tensor, or a list of tensors where `z_init` is one; and the
            statistics, see `SolverStat`.

        Raises:
            ConvergenceError: A sample missed the tolerance and `on_failure` is "raise".
            TypeError: `z_init` is no state of torchdeq, or a setting is none.
            ValueError: A setting has no counterpart, or func does not keep the shape of the state.
        """
        if backward_writer is not None:
            raise ValueError(
                "backward_writer has no counterpart: after loss.backward() the verdict on the "
                "backward solve is info.solution.adjoint[-1]"
            )
        settings = checked_settings(self.options, solver_kwargs)
        iterations = settings.pop("f_max_iter", self.options.iterations(training=self.training))
        f, z0 = MeasuredMap.of(func, z_init, batched=self.layer.batched)
        if self.training:
            states, solution = self._train(f, z0, iterations, settings)
            info = SolverStat.of(solution, f.sizes)
        else:
            with torch.no_grad():
                found = native(self.options, iterations, settings, training=False)
                solution = self._solve(f, z0, found)
            states, info = [solution.value], SolverStat.of(solution, f.sizes)
            info["sradius"] = torch.zeros(1)
            if sradius_mode:
                info["sradius"] = spectral_radius(f, solution.value, batched=not f.whole)
        return [list(state) if f.spread else state for state in states], info

    @abstractmethod
    def _train(
        self,
        f: MeasuredMap,
        z0: Any,  # noqa: ANN401
        iterations: int,
        settings: Mapping[str, Any],
    ) -> tuple[list[Any], Solution[Any]]:
        """Return the states, and the solve whose value the last of them comes from."""

    def _solve(self, f: MeasuredMap, z0: Any, found: Translation) -> Solution[Any]:  # noqa: ANN401
        self.layer.solver, self.layer.gradient = found
        f.sizes.clear()
        return self.layer.solve(f, z0=z0)

    def _ends(self, f: MeasuredMap, value: Any) -> list[Any]:  # noqa: ANN401
        """Return the last states: the equilibrium, or the phantom steps from it that are asked."""
        if self.options.samples_steps and not self.options.exact:
            return self._steps(f, value, self.options.grads[-1])
        return [value]

    def _steps(self, f: MeasuredMap, z: Any, count: int) -> list[Any]:  # noqa: ANN401
        """Return the states to be seen of so many damped steps from z, which a tape records."""
        gap, places, tau = self.options.sup_gap, self.options.sup_loc, self.options.tau
        z, seen = tree_map(torch.detach, z), []
        for step in range(1, count + 1):
            fz = f(z)
            z = fz if tau == 1 else tree_map(lambda a, b: torch.lerp(a, b, tau), z, fz)
            if step % gap == 0 if gap > 0 else step in places:
                seen.append(z)
        return seen if gap > 0 else [*seen, z]

    def _counts(self, states: int) -> tuple[int, ...]:
        """Return the steps from each of so many states, which the last one follows."""
        grads = self.options.grads
        return grads[:-1] if len(grads) > 1 else grads * states


class DEQIndexing(DEQBase):
    """Several states are iterates of one solve; see `DEQBase`."""

    core = "indexing"

    @override
    def _train(
        self, f: MeasuredMap, z0: Any, iterations: int, settings: Mapping[str, Any]
    ) -> tuple[list[Any], Solution[Any]]:
        *stops, _ = self.options.stops_within(iterations)
        found = native(self.options, iterations, settings, training=True, record=tuple(stops))
        solution, states = self._solve(f, z0, found), []
        for z, count in zip(solution.states, self._counts(len(stops)), strict=True):
            states += self._steps(f, z, count)
        return [*states, *self._ends(f, solution.value)], solution


class DEQSliced(DEQBase):
    """Each of several states starts a solve of its own; see `DEQBase`."""

    core = "sliced"

    @override
    def _train(
        self, f: MeasuredMap, z0: Any, iterations: int, settings: Mapping[str, Any]
    ) -> tuple[list[Any], Solution[Any]]:
        stops = self.options.stops_within(iterations)
        *slices, last = (end - start for start, end in pairwise((0, *stops)))
        states: list[Any] = []
        for length, count in zip(slices, self._counts(len(slices)), strict=True):
            found = native(self.options, length, settings, training=False)
            with torch.no_grad():
                way = fixed_point(
                    f,
                    z0,
                    solver=found.solver,
                    gradient=found.gradient,
                    on_failure="ignore",  # a slice need not come to an end
                    batched=not f.whole,
                )
            states += self._steps(f, way.value, count)
            z0 = tree_map(torch.detach, states[-1])
        solution = self._solve(f, z0, native(self.options, last, settings, training=True))
        return [*states, *self._ends(f, solution.value)], solution


CORES: dict[str, type[DEQBase]] = {"sliced": DEQSliced, "indexing": DEQIndexing}


def get_deq(
    args: Config = None,
    *,
    on_failure: OnFailure = "warn",
    batched: bool = True,
    **options: object,
) -> DEQBase:
    """Return the layer that the options of torchdeq stand for; see `DEQBase` for the arguments.

    Example:
        >>> import torch
        >>> deq = get_deq(f_solver="anderson", f_tol=1e-4, f_stop_mode="rel", ift=True)
        >>> x = torch.ones(4, 3, requires_grad=True)
        >>> z_out, info = deq(lambda z: 0.5 * torch.tanh(z) + x, torch.zeros(4, 3))
        >>> z_out[-1].sum().backward()
        >>> info.solution
        Solution(4 CONVERGED; worst residual 1.7e-05; 7 evaluations)
    """
    chosen = read(args, options)
    return CORES[chosen.core](chosen, on_failure=on_failure, batched=batched)


def reset_deq(model: nn.Module) -> None:
    """Let the norms and the dropout masks of a model be found anew, once a training step."""
    reset_norm(model)
    reset_dropout(model)


class _Call(nn.Module):
    """A cell whose input is the map."""

    @override
    def forward(self, z: Any, f: Callable[[Any], Any]) -> Any:
        return f(z)
