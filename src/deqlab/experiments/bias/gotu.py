"""A DEQ against feed-forward networks of equal cost on the part of a boolean cube they never saw.

Networks train on points of {-1, 1}^n where a condition holds, and are tested on the unseen others:
the mean squared error there is the GOTU error (generalisation on the unseen). The learning rate is
chosen on seen points alone. Published: DEQs, whose features are denser, generalise better there.
Source: Wu et al. (2024), "Separation and Bias of Deep Equilibrium Models on Expressivity and
Learning Dynamics", Figure 1(c, f) on the tasks f1 and f2 of Abbe, Bengio, Lotfi & Rizk (2023), who
have f3 and f4 as well. The linear target with a frozen bit is deqlab's. Their training settings
are not public: those here are deqlab's.
"""

from dataclasses import dataclass
from functools import lru_cache

import torch

from deqlab.experiments.base import Experiment
from deqlab.experiments.comparing.arms import DTYPES
from deqlab.experiments.comparing.regression import Regression, RegressionConfig, regression
from deqlab.experiments.comparing.supervised import Batch
from deqlab.tasks import gotu
from deqlab.tasks.boolean import BooleanTask


@dataclass(frozen=True, kw_only=True)
class GotuConfig(RegressionConfig):
    """The fields of the experiment.

    Attributes:
        target: The function, a formula in the bits: "x0*x1".
        seen: Condition under which a point is seen: "x0 == 1 or x1 == 1".
        num_bits: n, at most 20.
    """

    target: str
    seen: str
    num_bits: int = 15
    width: int = 20
    constraint: str = "spectral"
    bound: float = 0.95
    gain: float = 0.5
    learning_rates: tuple[float, ...] = (1e-2,)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.task()

    def task(self) -> BooleanTask:
        """Return the function and the part of the cube that is seen.

        Raises:
            ExpressionError: A text does not parse, or names a bit that is absent.
            BooleanTaskError: All points are seen, or none is.
        """
        return _task(self.target, self.seen, self.num_bits)


@lru_cache(maxsize=8)
def _task(target: str, seen: str, num_bits: int) -> BooleanTask:
    # Kept, because it enumerates the cube.
    return BooleanTask(target=target, seen=seen, num_bits=num_bits)


def _sample(config: GotuConfig, num_samples: int, generator: torch.Generator) -> Batch:
    x, y = config.task().sample(num_samples, generator=generator, dtype=DTYPES[config.dtype])
    return x, y[:, None]


def _unseen(config: GotuConfig) -> Batch:
    x, y = config.task().unseen(dtype=DTYPES[config.dtype])
    return x, y[:, None]


def _subject(config: GotuConfig) -> str:
    return f"Where {config.target} was not seen ({config.seen} was)"


_TASK = Regression(sample=_sample, subject=_subject, test=_unseen)


def _experiment(name: str, task: BooleanTask, source: str) -> Experiment[GotuConfig]:
    return regression(
        _TASK,
        GotuConfig(target=task.target, seen=task.seen, num_bits=task.num_bits),
        about="Mean squared error on the unseen points, on 2^16 of them if there are more; the "
        "training loss is that on seen ones.",
        name=f"gotu-{name}",
        title=f"DEQ against feed-forward networks on the unseen: {task.target}",
        claim=f"At equal cost, a DEQ that learns {task.target} where {task.seen} has a smaller "
        "error elsewhere than feed-forward networks.",
        source=source,
        origin="asked" if source.startswith("Asked") else "published",
    )


_FIGURE, _THEIRS = "Wu et al. (2024), Figure 1(c, f)", "Abbe, Bengio, Lotfi & Rizk (2023)"
_ASKED = f"Asked by deqlab; the task is of {_THEIRS}."

EXPERIMENTS = (
    _experiment("f1", gotu.three_products(), f"{_FIGURE}; the task is of {_THEIRS}."),
    _experiment("f2", gotu.one_product(), f"{_FIGURE}; the task is of {_THEIRS}."),
    _experiment("f3", gotu.cyclic_triples(), _ASKED),
    _experiment("f4", gotu.majority_of_three(), _ASKED),
    _experiment(
        "frozen",
        gotu.frozen_bit(),
        "Asked by deqlab: a linear function, one bit of which is frozen.",
    ),
)
