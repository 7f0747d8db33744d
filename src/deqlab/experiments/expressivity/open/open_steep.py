"""The open problem on steep functions: a width-10 ReLU DEQ on a ramp, trained, against every FNN.

Asked here: is there a way to train a DEQ of width 10, solved to its own equilibrium, on the ramp
g(x) = clip(x / delta, 0, 1) with delta = 2^-d, so that its median test loss is below that of every
FNN of equal training FLOPs? The DEQ is z = relu(W z + U x + b), y = v'z + c with lower triangular W
and loops below 1, which holds the ramp with norms of at most 2; see `expressivity.steep_ramp`.

Expected: no. An FNN of one layer and two neurons is the ramp exactly, and a loop changes no
function that a DEQ may have: what differs in loss is only how training goes, and where it goes
well, losses tie at rounding. What is known to differ is how large weights must be: FNNs of L hidden
layers need a norm of about 2^(d / (L + 1)), and a DEQ needs 2. So norms are measured too, and told;
the verdict is on the losses.

All arms have the same points, and test points are others. Nothing is chosen by the test loss in a
run; the recipes themselves were sought with test losses in view, on seeds that are not run.
Everything is in float64.
"""

from dataclasses import replace

from deqlab.experiments.base import Experiment
from deqlab.experiments.expressivity.open.competition import FRESH
from deqlab.experiments.expressivity.open.jobs import check, plan, run
from deqlab.experiments.expressivity.open.open_steep_report import PAGE, judge
from deqlab.experiments.expressivity.open.steep_routes import OpenSteepConfig

_FULL = OpenSteepConfig()

EXPERIMENT = Experiment(
    name="open-steep",
    title="Open problem: a trained DEQ against every feed-forward network on a steep ramp",
    claim="A width-10 ReLU DEQ, solved to its own equilibrium, can be trained on a ramp of slope "
    "2^d to a smaller median test loss than every FNN of equal training FLOPs.",
    source="Asked here, of Wu et al. (2024), Figures 1(b, e) and 4; the function is deqlab's own, "
    "and the recipes are derived.",
    origin="asked",
    presets={
        "smoke": replace(
            _FULL,
            seeds=(0,),
            log2_steepness=3,
            width=3,
            depths=(1, 2),
            train_samples=64,
            test_samples=64,
            steps_per_stage=10,
            noises=(1e-2,),
            candidates=4,
        ),
        "quick": replace(
            _FULL,
            seeds=FRESH[:3],
            log2_steepness=10,
            train_samples=1000,
            steps_per_stage=60,
            noises=(1e-2,),
        ),
        "full": _FULL,
    },
    page=PAGE,
    check=check,
    plan=plan,
    run=run,
    judge=judge,
)
