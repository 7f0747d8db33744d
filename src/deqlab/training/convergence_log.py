"""The convergence log: every solve of a run, by layer, and what happens when a layer slips.

A published model was trained for hours on a solver that returned zero, and its log said so in most
of its lines. This one speaks up: where fewer samples than wanted are at their equilibrium over a
window of steps, its policies act (see `policies`), in all processes alike.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from statistics import fmean
from typing import Any

from torch import nn

from deqlab.arguments import check_count, check_function, check_number
from deqlab.errors import speak
from deqlab.nn.deq import DEQ
from deqlab.training.layers import Watch
from deqlab.training.policies import Policy, Slip, Warn
from deqlab.training.processes import least_share
from deqlab.training.solve_summary import SolveSummary
from deqlab.training.solver_changes import SolverChanges


class ConvergenceLog:
    """Keeps what every solve in train mode tells, by layer, and acts when a layer slips.

    Args:
        model: The model that is trained.
        policy: What happens then; several act in their order.
        least: The share of samples that should be at their equilibrium, above 0 and at most 1.
        window: Over how many steps that share is taken; policies act at most once in a window.

    Attributes:
        slips: Every slip so far, as sentences.
        rows: What `row` has returned so far, one line for each layer.

    Raises:
        TypeError: A policy is no function of a slip.
        ValueError: The model has no DEQ layer, or a number is outside its domain.

    Example:
        >>> import torch
        >>> from deqlab import DEQ
        >>> from deqlab.nn import DenseCell
        >>> model = DEQ(DenseCell(3, 8))
        >>> log = ConvergenceLog(model)
        >>> for _ in range(10):
        ...     model(torch.ones(4, 3)).sum().backward()  # then a step of the optimiser
        ...     going_on = log.step()
        >>> log.row()["train_converged"]
        1.0
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        policy: Policy | Iterable[Policy] = Warn(),
        least: float = 0.99,
        window: int = 20,
    ) -> None:
        check_number("least", least)
        if not 0 < least <= 1:
            raise ValueError(f"least must be above 0 and at most 1, got {least}")
        check_count("window", window)
        given: Any = policy  # whatever it is
        one = callable(given) or isinstance(given, str) or not isinstance(given, Iterable)
        self.policies: tuple[Policy, ...] = (given,) if one else tuple(given)
        for each in self.policies:
            check_function("policy", each, example="training.Raise()")
        self.least, self.window = least, window
        self.steps = 0
        self.slips: list[str] = []
        self.rows: list[dict[str, Any]] = []
        self._watch = Watch(model)
        self._layers = {
            name: _Layer(layer, SolverChanges(layer), deque(maxlen=window))
            for name, layer in self._watch.layers.items()
        }

    def step(self) -> bool:
        """Take in the solves since the last call, after the backward pass of a step.

        Returns:
            Whether training goes on: False if a policy ends it.
        """
        self.steps += 1
        for name, solves in self._watch.take().items():
            summary = SolveSummary.of(solves)
            self._layers[name].add(summary)
            if summary.converged < 1:  # the layer has warned; from now on they are counted
                self._watch.speak_of(name)
        goes_on = True
        for name, layer in self._layers.items():
            if len(layer.recent) == self.window:
                share = least_share(layer.converged, layer.layer)
                if share < self.least:
                    goes_on &= self._act(name, layer, share)
        return goes_on

    def row(self) -> dict[str, Any]:
        """Return what was logged since the last call, and keep it by layer in `rows`.

        The shares are those of the worst layer, the evaluations and products of a step those of
        all layers together; empty if nothing was solved.
        """
        found = {name: layer.row() for name, layer in self._layers.items() if layer.since}
        self.rows += [{"step": self.steps, "layer": name, **row} for name, row in found.items()]
        if not found:
            return {}
        every = list(found.values())
        row = {
            "train_converged": min(each["train_converged"] for each in every),
            "adjoint_converged": min(each["adjoint_converged"] for each in every),
            "excess": max(each["excess"] for each in every),
            "rate": max(each["rate"] for each in every),
            "evaluations": sum(each["evaluations"] for each in every),
            "adjoint_products": sum(each["adjoint_products"] for each in every),
        }
        errors = [each["gradient_error"] for each in every if "gradient_error" in each]
        return row | ({"gradient_error": max(errors)} if errors else {})

    def in_words(self) -> list[str]:
        """Return the newest step of each layer: evaluations, rate and converged share."""
        return [
            f"{name + ': ' if name else ''}{last.evaluations} evaluations, rate {last.rate:.2f}, "
            f"{100 * last.converged:.0f} % converged"
            for name, layer in self._layers.items()
            for last in list(layer.recent)[-1:]
        ]

    def say_missed(self) -> None:
        """Warn, at the end, of each layer that warns: in how many steps samples were missed."""
        for layer in self._layers.values():
            if layer.missed > 1 and layer.layer.on_failure == "warn":
                text = (
                    f"{layer.layer.called}: samples missed the tolerance in {layer.missed} of "
                    f"{self.steps} steps of training; the rows of the log say how many, and by how "
                    "much."
                )
                speak(text, text, on_failure="warn")

    def state_dict(self) -> dict[str, Any]:
        """Return what was logged, and what was changed of the solvers, for a checkpoint."""
        layers = {name: layer.state() for name, layer in self._layers.items()}
        told = {"steps": self.steps, "slips": [*self.slips], "rows": [*self.rows]}
        return {**told, "layers": layers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there.

        Raises:
            ValueError: It is the log of a model with other layers.
        """
        if state["layers"].keys() != self._layers.keys():
            raise ValueError(
                f"the log is of layers {sorted(state['layers'])}, and the model has "
                f"{sorted(self._layers)}"
            )
        self.steps, self.slips, self.rows = state["steps"], [*state["slips"]], [*state["rows"]]
        for name, layer in self._layers.items():
            layer.restore(state["layers"][name])

    def close(self) -> None:
        """Tell the layers to stop telling; what was logged stays."""
        self._watch.close()

    def _act(self, name: str, layer: "_Layer", converged: float) -> bool:
        layer.slips += 1
        slip = Slip(
            layer=layer.layer,
            name=name,
            step=self.steps,
            window=self.window,
            converged=converged,
            wanted=self.least,
            excess=fmean(each.excess for each in layer.recent),
            rate=fmean(each.rate for each in layer.recent),
            times=layer.slips,
        )
        self.slips.append(str(slip))
        layer.recent.clear()
        return all([policy(slip) for policy in self.policies])


@dataclass
class _Layer:
    """What is kept of one layer: the last steps, and those since the last row."""

    layer: DEQ[Any]
    changes: SolverChanges
    recent: deque[SolveSummary]
    since: list[SolveSummary] = field(default_factory=list)
    slips: int = 0
    missed: int = 0

    @property
    def converged(self) -> float:
        return fmean(each.converged for each in self.recent)

    def add(self, solves: SolveSummary) -> None:
        self.recent.append(solves)
        self.since.append(solves)
        self.missed += solves.converged < 1

    def state(self) -> dict[str, Any]:
        return {
            "recent": [asdict(each) for each in self.recent],
            "since": [asdict(each) for each in self.since],
            "slips": self.slips,
            "missed": self.missed,
            "solvers": self.changes.found(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.recent.clear()
        self.recent.extend(SolveSummary(**each) for each in state["recent"])
        self.since = [SolveSummary(**each) for each in state["since"]]
        self.slips, self.missed = state["slips"], state.get("missed", 0)
        self.changes.apply(state["solvers"])

    def row(self) -> dict[str, Any]:
        since, self.since = self.since, []
        row: dict[str, Any] = {
            "train_converged": fmean(each.converged for each in since),
            "adjoint_converged": fmean(each.adjoint_converged for each in since),
            "excess": fmean(each.excess for each in since),
            "excess_max": max(each.excess_max for each in since),
            "rate": fmean(each.rate for each in since),
            "evaluations": fmean(each.evaluations for each in since),
            "adjoint_products": fmean(each.products for each in since),
        }
        errors = [each.gradient_error for each in since if each.gradient_error is not None]
        return row | ({"gradient_error": fmean(errors)} if errors else {})
