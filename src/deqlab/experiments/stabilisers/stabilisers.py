"""What keeps a DEQ at its equilibrium while it trains, and what does it cost?

Measured in settings in which nothing keeps it there: the share of samples at their equilibrium at
the end, the loss, the evaluations, and the time of a step. The regularisers are those that the
literature proposes (Bai, Koltun & Kolter 2021: Hutchinson) and two that need no second derivative;
operator norms are after Lipschitz networks; rate control is deqlab's own.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from deqlab.arguments import check_positive
from deqlab.experiments.base import Experiment, Job, Row, every_job, progress
from deqlab.experiments.config import Config, check_at_least
from deqlab.experiments.stabilisers.settings import Setting, attention, conv
from deqlab.experiments.stabilisers.stabilisers_report import PAGE, judge
from deqlab.stability.regularization.base import Regularizer
from deqlab.stability.regularization.denoising import DenoisingEnergy
from deqlab.stability.regularization.frobenius import FiniteDifferences, Hutchinson
from deqlab.stability.regularization.penalty import Penalty
from deqlab.training.convergence_log import ConvergenceLog
from deqlab.training.equilibrium import Labelled, assessed
from deqlab.training.fit import fit_rows
from deqlab.training.loop import Loop
from deqlab.training.rate_control import RateControl

REGULARIZERS: dict[str, type[Regularizer]] = {
    "hutchinson": Hutchinson,
    "finite-differences": FiniteDifferences,
    "denoising": DenoisingEnergy,
}


@dataclass(frozen=True, kw_only=True)
class StabilisersConfig(Config):
    """The fields of the experiment.

    Attributes:
        num_images: Training images of the convolutional setting.
        epochs: Passes over them.
        text_steps: Steps of the attention setting.
        weights: The weights of the regularisers that are tried, each an arm of its own.
        num_evaluations: How often a network is tested while it trains.
    """

    num_images: int = 10_000
    epochs: int = 2
    text_steps: int = 350
    weights: tuple[float, ...] = (0.1, 1.0)
    num_evaluations: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_least(self, 1, "num_images", "epochs", "text_steps", "num_evaluations")
        for weight in self.weights:
            check_positive("weights", weight)


def plan(config: StabilisersConfig, rows: Sequence[Row]) -> list[Job]:
    """Return each stabiliser in each setting; norms are those of filters, or of matrices."""
    penalties = {
        f"{name} {weight:g}": {"penalty": kind(weight=weight)}
        for name, kind in REGULARIZERS.items()
        for weight in config.weights
    }
    every: dict[str, dict[str, Any]] = {
        "nothing": {},
        "rate control": {"control": True},
        **penalties,
    }
    arms = {
        f"{setting}: {name}": {"setting": setting, "stabiliser": name, **of}
        for setting, norms in (("conv", "operator norms"), ("attention", "spectral norms"))
        for name, of in (every | _bounded(norms)).items()
    }
    return every_job(arms, config.seeds)


def _bounded(norms: str) -> dict[str, dict[str, Any]]:
    both = {"bounded": True, "control": True}
    return {norms: {"bounded": True}, f"{norms}, rate control": both}


def run(config: StabilisersConfig, job: Job) -> Iterator[Row]:
    """Train one network with one stabiliser."""
    about = {name: job.settings[name] for name in ("setting", "stabiliser")}
    setting = _setting(about["setting"], config)
    model = setting.network(job.settings.get("bounded", False))
    regularizer = job.settings.get("penalty")
    penalty = None if regularizer is None else Penalty(model, regularizer)
    control = RateControl(model, target=setting.rate) if job.settings.get("control") else None
    log = ConvergenceLog(model, policy=())

    def loss(batch: Labelled) -> tuple[torch.Tensor, None]:
        x, y = batch
        # Fused attention has no second derivative, which Hutchinson takes.
        exact = isinstance(regularizer, Hutchinson)
        with sdpa_kernel(SDPBackend.MATH) if exact else nullcontext():
            found = cross_entropy(model(x).flatten(0, -2), y.flatten())
            return (found if penalty is None else found + penalty()), None

    optimizer = setting.optimizer(model)
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=setting.steps)
    rows = fit_rows(
        model,
        Loop(loss=loss, optimizer=optimizer, schedule=schedule, clip=setting.clip),
        setting.batches(torch.Generator().manual_seed(job.seed)),
        control=control,
        log=log,
        evaluate=lambda model: assessed(model, setting.test),
        every=-(-setting.steps // config.num_evaluations),
        progress=False,
    )
    row: Row = {}
    for row in rows:
        yield progress(row, num_steps=setting.steps)
        yield {"kind": "step", **about, **row}
    per_step = row["seconds"] / row["step"]
    yield {"kind": "summary", "label": job.arm, **about, **row, "step_seconds": per_step}


@lru_cache(maxsize=2)
def _setting(where: str, config: StabilisersConfig) -> Setting:
    if where == "conv":
        return conv(config.num_images, config.epochs)
    return attention(config.text_steps)


def check(config: StabilisersConfig) -> None:
    """Raise DataError unless both data sets are here."""
    for where in ("conv", "attention"):
        _setting(where, config)


EXPERIMENT: Experiment[Any] = Experiment(
    name="stabilisers",
    title="What keeps a DEQ at its equilibrium while it trains",
    claim="Rate control keeps a DEQ at its equilibrium where it would leave it, and no regulariser "
    "that does so reaches a lower loss.",
    source="Asked by deqlab; the regularisers are those of Bai, Koltun & Kolter (2021) and kin.",
    origin="asked",
    presets={
        "smoke": StabilisersConfig(
            seeds=(0,), num_images=640, epochs=1, text_steps=6, weights=(1.0,), num_evaluations=1
        ),
        "quick": StabilisersConfig(seeds=(0,), weights=(1.0,)),
        "full": StabilisersConfig(),
    },
    page=PAGE,
    check=check,
    plan=plan,
    run=run,
    judge=judge,
)
