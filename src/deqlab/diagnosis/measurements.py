"""All that the probes of a diagnosis measured; None where a probe had nothing to measure."""

from dataclasses import dataclass, field

from deqlab.diagnosis.probes.cost import Cost
from deqlab.diagnosis.probes.coupling import Coupling
from deqlab.diagnosis.probes.derivatives import Derivatives
from deqlab.diagnosis.probes.equilibria import Equilibria
from deqlab.diagnosis.probes.finiteness import Finiteness
from deqlab.diagnosis.probes.gradients import GradientErrors
from deqlab.diagnosis.probes.inputs import HiddenGradients
from deqlab.diagnosis.probes.repeatability import Repeatability
from deqlab.diagnosis.probes.solvers import SolverRun
from deqlab.diagnosis.probes.tolerance import Sensitivity
from deqlab.diagnosis.probes.warm_starts import WarmStart
from deqlab.stability.certificate import Certificate


@dataclass(kw_only=True)
class Measurements:
    """What was measured of one subject.

    Attributes:
        samples: How many samples the batch has.
        size: Numbers in the state of one.
        dtype: What f is computed in, in words.
        eps: The distance from 1 to the next number there.
        repeatability: Whether f is the same map at each call.
        finiteness: For which inputs it is not finite.
        coupling: Which rows depend on each other.
        certificates: What is proved of it, by layer.
        equilibria: Its fixed points from several starts.
        derivatives: Whether autograd sees how f depends on z, and whether it does.
        hidden: The inputs and parameters that autograd does not see f depend on.
        solvers: What each solver takes, by its name; the first is the one that is diagnosed.
        gradients: The true error of gradients.
        cost: What a step costs, and of what.
        tolerance: How much the answer changes with the tolerance.
        warm_start: What a warm start saves.
        unmeasured: Why a probe came to no end, by its name.
    """

    samples: int = 0
    size: int = 0
    dtype: str = ""
    eps: float = 0.0
    repeatability: Repeatability | None = None
    finiteness: Finiteness | None = None
    coupling: Coupling | None = None
    certificates: dict[str, Certificate] = field(default_factory=dict)
    equilibria: Equilibria | None = None
    derivatives: Derivatives | None = None
    hidden: HiddenGradients | None = None
    solvers: dict[str, SolverRun] = field(default_factory=dict)
    gradients: GradientErrors | None = None
    cost: Cost | None = None
    tolerance: Sensitivity | None = None
    warm_start: WarmStart | None = None
    unmeasured: dict[str, str] = field(default_factory=dict)

    @property
    def j_is_wrong(self) -> bool:
        """Whether J by autograd is not the derivative of f: then what rests on it means nothing."""
        return self.derivatives is not None and bool(self.derivatives.wrong.any())
