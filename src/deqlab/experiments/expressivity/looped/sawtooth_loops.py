"""Is the published advantage of DEQs on a sawtooth one of truncated loops?

A "DEQ" whose loop is cut off after k steps and differentiated through is a network of depth k with
one layer's weights: what it learns need not be at its equilibrium. Here ReLU loops of width 10 with
5, 10 and 30 steps are tested twice, as they were trained and with the same weights solved to the
end, beside DEQs that are trained at their equilibrium, and FNNs of equal parameters and of equal
FLOPs a step. Asked by deqlab, of the claim of Wu et al. (2024), "Separation and Bias of Deep
Equilibrium Models on Expressivity and Learning Dynamics", Figure 1(a) and Table 1: 2^5 regions,
width 10. Their training settings are not public.

Expected: with few steps loops are ahead of FNNs, off their equilibrium, and worse than a constant
once solved to the end.
"""

from collections.abc import Iterator, Sequence

from deqlab.experiments.base import Experiment, Job, Row, Verdict
from deqlab.experiments.config import TEST_SEED
from deqlab.experiments.expressivity.looped import networks
from deqlab.experiments.expressivity.looped.sawtooth_loops_report import PAGE, verdict
from deqlab.experiments.expressivity.looped.scores import scores
from deqlab.experiments.expressivity.looped.trials import (
    Training,
    TrialsConfig,
    kept,
    points,
    setting,
)


def run(config: TrialsConfig, job: Job) -> Iterator[Row]:
    """Yield rows about the search, a point for each sawtooth and budget, and the summary."""
    training = Training(config, job)
    yield from training.run()
    tested: dict[tuple[int, int], Row] = {}
    for index, search in kept(config, training):
        yield from search
        trial, network = config.trials[index], training.networks.network(index)
        x, y = points(trial.log2_regions, config.test_samples, TEST_SEED)
        row = {
            **setting(trial),
            "family": job.settings["family"],
            "learning_rate": trial.rate,
            "train_loss": training.train_loss(index),
            **scores(network, config, x, y),
            "flops_per_step": networks.step_flops(network, x[: config.batch_size]),
        }
        if job.settings["family"] == "deq":
            row["train_converged"] = training.converged(index)
        tested[trial.log2_regions, trial.budget] = row
        yield {"kind": "point", **row}
    yield {
        "kind": "summary",
        **{name: job.settings[name] for name in ("label", "matching")},
        "parameters": training.networks.flat.shape[1],
        **tested[config.log2_regions[0], config.budgets[-1]],
        "seconds": training.seconds,
    }


def judge(config: TrialsConfig, rows: Sequence[Row]) -> Verdict:
    """Return whether loops have the advantage and equilibria do not, on the sawtooth asked for."""
    constants = {}
    for k in config.log2_regions:
        _, y = points(k, config.test_samples, TEST_SEED)
        constants[k] = y.var(correction=0).item()
    return verdict(rows, constants=constants, budgets=config.budgets)


EXPERIMENT = Experiment(
    name="sawtooth-loops",
    title="Loops, DEQs and feed-forward networks on a sawtooth",
    claim="The published advantage of DEQs on a sawtooth of 2^5 linear regions is one of truncated "
    "loops, not of equilibria.",
    source="Asked by deqlab, of Wu et al. (2024), Figure 1(a) and Table 1; training settings are "
    "deqlab's own.",
    origin="asked",
    presets={
        "smoke": TrialsConfig(
            seeds=(0,),
            width=4,
            loops=(2,),
            cells=("spectral",),
            depths=(1,),
            log2_regions=(2, 1),
            budgets=(3, 6),
            batch_size=16,
            train_samples=40,
            test_samples=64,
            progress_every=3,
        ),
        "quick": TrialsConfig(depths=(2, 5)),
        "full": TrialsConfig(
            seeds=tuple(range(8)), log2_regions=(5, 3, 10), budgets=(6000, 30_000, 60_000)
        ),
    },
    page=PAGE,
    check=networks.check,
    plan=lambda config, rows: networks.plan(config),
    run=run,
    judge=judge,
)
