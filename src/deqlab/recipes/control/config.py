"""The settings of recipes that learn from an expert, and of the observer."""

from dataclasses import dataclass
from math import inf

from typing_extensions import override

from deqlab.experiments.config import check_at_least, check_choice, check_positive, require
from deqlab.recipes.by_steps import StepsConfig


@dataclass(frozen=True, kw_only=True)
class ControlConfig(StepsConfig):
    """What the recipes have. Their equilibria have no knob: `rate` is 0.

    Attributes:
        test_size: States to test on, of each system; as many more are kept to decide between
            learning rates.
    """

    weight_decay: float = 0.0
    rate: float = 0.0
    max_steps: int = 100
    test_size: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "test_size")
        require(self.rate == 0, "rate must be 0: these cells have no knob to control")


@dataclass(frozen=True, kw_only=True)
class LinearConfig(ControlConfig):
    """The fields of `lqr` and `box-mpc`: random linear systems, or one of your own.

    Attributes:
        systems: How many are drawn; a controller of its own learns each, all in one run.
        num_states: n.
        num_inputs: m.
        radius: The spectral radius of A where it is drawn.
        a: A of a system of your own, n x n numbers row by row; none draws systems.
        b: B of it, n x m numbers.
        demonstrations: States whose inputs the expert shows, of each system.
        noise: The deviation of what is added to an input that is shown, in units of the root mean
            square of all inputs.
    """

    learning_rates: tuple[float, ...] = (1e-2,)
    systems: int = 64
    num_states: int = 4
    num_inputs: int = 2
    radius: float = 1.2
    a: tuple[float, ...] = ()
    b: tuple[float, ...] = ()
    demonstrations: int = 16
    noise: float = 0.1
    batch_size: int = 16
    warmup: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("a", "b"):  # the command line takes parts of an empty tuple for words
            object.__setattr__(self, name, tuple(float(part) for part in getattr(self, name)))
        check_at_least(self, 1, "systems", "num_states", "num_inputs", "demonstrations")
        check_at_least(self, 0, "noise", "radius")
        require(bool(self.a) == bool(self.b), "a system of your own needs both of a and b")
        if self.a:
            n, m = self.num_states, self.num_inputs
            require(
                len(self.a) == n * n and len(self.b) == n * m,
                f"a needs {n} x {n} numbers and b {n} x {m} (num_states, num_inputs), got "
                f"{len(self.a)} and {len(self.b)}",
            )
            require(self.systems == 1, "systems must be 1 where a and b are given")

    @property
    @override
    def subject(self) -> str:
        if self.a:
            return "a system of your own"
        return f"{self.systems} systems of {self.num_states} states and {self.num_inputs} inputs"


@dataclass(frozen=True, kw_only=True)
class BoxConfig(LinearConfig):
    """The fields of `box-mpc`.

    Attributes:
        horizon: Steps of a plan.
        lower: The lower bound of each input.
        upper: The upper bound.
        reach: The deviation of the states that plans start from.
    """

    systems: int = 8
    num_states: int = 3
    radius: float = 1.0
    demonstrations: int = 32
    batch_size: int = 32
    noise: float = 0.0
    horizon: int = 5
    lower: float = -1.0
    upper: float = 1.0
    reach: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "horizon")
        check_positive(self, "reach")
        check_box(self.lower, self.upper)


@dataclass(frozen=True, kw_only=True)
class PendulumConfig(ControlConfig):
    """The fields of `pendulum`.

    Attributes:
        demonstrations: Trajectories of the expert to learn from.
        test_size: Trajectories to test on; as many more decide between learning rates.
        steps_shown: Steps of each trajectory that are shown.
        plan: Steps of the plan that the expert makes.
        torque: The largest torque.
        angle: Trajectories start at angles up to this, in radians from upright, and at angular
            velocities from which the torque can bring them back.
        horizon: Steps of a plan of the learned controller.
    """

    learning_rates: tuple[float, ...] = (1e-2,)
    demonstrations: int = 8
    test_size: int = 32
    steps_shown: int = 15
    plan: int = 30
    torque: float = 2.0
    angle: float = 0.6
    horizon: int = 10
    batch_size: int = 64
    warmup: int = 20

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "demonstrations", "steps_shown", "horizon")
        check_positive(self, "angle")
        check_box(-self.torque, self.torque)
        require(
            self.steps_shown < self.plan,
            f"steps_shown must be below plan = {self.plan}, got {self.steps_shown}",
        )

    @property
    @override
    def subject(self) -> str:
        return f"a pendulum with torque up to {self.torque:g}"


@dataclass(frozen=True, kw_only=True)
class ObserverConfig(ControlConfig):
    """The fields of `observer`.

    Attributes:
        optimizer: "lbfgs", in float64, takes one batch for the whole training, and 20 iterations of
            L-BFGS a step; "adam", in float32, draws a batch a step.
        start: Where networks begin whose state is the estimate: "linear", at the linear observer of
            least squares, or "random".
        bandwidth: How fast that observer is, in radians per second; see `luenberger`.
        width: Neurons of the recurrent equilibrium network.
        contraction: By what its trajectories come closer in each step, at least.
        trajectories: To train on, of 10 s.
        window: Steps of a trajectory that a sample of a batch has.
        test_size: Trajectories to test on, each of `test_seconds` from where the observer knows
            nothing; as many more decide between learning rates.
        test_seconds: Their length.
        settled: Seconds after which errors count.
        reach: Trajectories to train on start at positions and velocities up to this.
        test_reach: And those to test on.
    """

    learning_rates: tuple[float, ...] = (1.0,)
    batch_size: int = 40
    clip: float = 0.0
    max_steps: int = 300
    optimizer: str = "lbfgs"
    start: str = "linear"
    bandwidth: float = 10.0
    width: int = 16
    contraction: float = 0.99
    trajectories: int = 200
    window: int = 50
    test_size: int = 50
    test_seconds: float = 20.0
    settled: float = 10.0
    reach: float = 0.5
    test_reach: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "width", "trajectories", "window")
        check_choice(self, "optimizer", ("lbfgs", "adam"))
        check_choice(self, "start", ("linear", "random"))
        check_positive(self, "reach", "test_reach", "settled", "bandwidth")
        require(
            self.optimizer == "adam" or self.clip == self.weight_decay == 0,
            "clip and weight_decay are of optimizer=adam: L-BFGS takes the gradient as it is",
        )
        require(
            0 < self.contraction <= 1,
            f"contraction must be above 0, and at most 1, got {self.contraction}",
        )
        require(
            self.settled < self.test_seconds < inf,
            f"settled must be below test_seconds = {self.test_seconds:g}, got {self.settled:g}",
        )
        require(self.window < 1000, f"window must be below the 1000 steps of 10 s: {self.window}")

    @property
    @override
    def subject(self) -> str:
        return "a box on springs whose position is measured"


def check_box(lower: float, upper: float) -> None:
    """Raise ValueError unless inputs fit between the bounds."""
    require(
        -inf < lower < upper < inf,
        f"no input is within the bounds: lower must be below upper, got {lower:g} and {upper:g}",
    )
