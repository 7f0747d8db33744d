"""`language`: one tied block at its equilibrium; and `hybrid-language`, behind explicit blocks.

No public number of a DEQ on tinyshakespeare was found; these can be repeated by one command. The
settings are those of nanoGPT on a CPU (Karpathy 2022).
"""

from dataclasses import replace
from typing import Any

from deqlab.gradients.loops import Loops, RandomLoops
from deqlab.gradients.phantom import JacobianFree, Phantom
from deqlab.recipes.base import Arm, recipe, twins
from deqlab.recipes.language.config import LanguageConfig
from deqlab.recipes.language.data import LanguageTask, written_in
from deqlab.recipes.language.networks import deq, explicit, explicit_of_flops, hybrid

FULL = LanguageConfig(arms=("deq", "twin-parameters", "twin-4-layers", "twin-flops"))
SMALL: dict[str, Any] = {
    "text": "numbers",
    "seeds": (0,),
    "steps": 60,
    "warmup": 10,
    "width": 32,
    "heads": 2,
    "length": 16,
    "cap": 0.01,
    "evaluation_batches": 20,
    "num_evaluations": 2,
}
"""What the recipes are set to for a run of seconds, on a text that is bundled."""

SOURCE = "Asked by deqlab; settings of nanoGPT (Karpathy 2022)."

RECIPES = (
    recipe(
        {
            "deq": Arm(label="DEQ of one block", make=deq()),
            "deq-2-blocks": Arm(label="DEQ of two blocks", make=deq(2)),
            "deq-3-blocks": Arm(label="DEQ of three blocks", make=deq(3)),
            "deq-phantom": Arm(label="DEQ, phantom gradient", make=deq(1, Phantom(steps=4))),
            "deq-one-step": Arm(label="DEQ, one-step gradient", make=deq(1, JacobianFree())),
            "looped-8": Arm(label="Looped 8 times", make=deq(1, Loops(steps=8))),
            "looped-random": Arm(
                label="Looped 8 times in the mean, the last 4 differentiated",
                make=deq(1, RandomLoops(mean=8.0, differentiated=4)),
            ),
            "twin-4-layers": Arm(label="Four layers", make=explicit(4)),
            **twins(explicit(1), explicit_of_flops),
        },
        name="language",
        title="A language model of one block, at its equilibrium",
        source=SOURCE,
        presets={
            "smoke": replace(FULL, **SMALL),
            "quick": replace(FULL, steps=400, warmup=40, num_evaluations=2),
            "full": FULL,
            "blocks": replace(FULL, arms=("deq", "deq-2-blocks", "deq-3-blocks")),
            "modes": replace(
                FULL,
                arms=("deq", "deq-phantom", "deq-one-step", "looped-8", "looped-random"),
                steps=1000,
            ),
            "deep": replace(
                FULL, arms=("deq", "twin-parameters", "twin-4-layers"), steps=10_000, length=128
            ),
        },
        task=LanguageTask,
        metric=LanguageTask.metric,
        restored=written_in,
        fields=("perplexity",),
    ),
    recipe(
        {
            "deq": Arm(label="Hybrid: a layer, and a DEQ", make=hybrid),
            # Its embeddings are smaller than what the backbone of the hybrid returns.
            "deq-2-blocks": Arm(label="DEQ of two blocks", make=deq(2, cap=0.01)),
            **twins(explicit(), explicit_of_flops),
        },
        name="hybrid-language",
        title="A language model whose first layer is explicit",
        source="Asked by deqlab; after Attractor (2026), settings of nanoGPT (Karpathy 2022).",
        presets={
            "smoke": replace(FULL, **(SMALL | {"arms": (), "cap": 0.5})),
            "quick": replace(FULL, arms=(), cap=0.5, steps=400, warmup=40, num_evaluations=2),
            "full": replace(FULL, arms=(), cap=0.5),
        },
        task=LanguageTask,
        metric=LanguageTask.metric,
        restored=written_in,
        fields=("perplexity",),
    ),
)
