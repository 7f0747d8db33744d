"""`deqlab sample`: a language model of a run goes on with a text."""

import sys
from dataclasses import replace
from pathlib import Path

import torch

from deqlab.experiments.config import UsageError
from deqlab.nn.generation import Generated, generate
from deqlab.nn.models.transformer import Transformer
from deqlab.recipes.trained import bundled, trained, trained_names
from deqlab.recipes.weights import FILE, read_weights
from deqlab.runs.records import RESULTS
from deqlab.tasks.tokens import Tokens, tokens_of
from deqlab.training.layers import layers_of

RTOL = 1e-3
"""To what texts are solved: to 1e-2 one that is drawn may depend on where solves start."""


def write_on(
    run: Path, *, network: str, prompt: str, count: int, temperature: float, seed: int
) -> None:
    """Print a text that begins with the prompt, and then what it took.

    Args:
        run: The folder of a run of a language model, a file of weights, or the name of a recipe
            that deqlab brings weights of.
        network: Which one of the run, as ARM-SEED.
        prompt: What the text begins with.
        count: How many tokens to add.
        temperature: See `generate`.
        seed: Of the numbers that draw the tokens.

    Raises:
        UsageError: There is no such network, it does not write, or the prompt is empty.
        DataError: The prompt has characters that the network does not know.
    """
    model, tokens = _loaded(_file(run, network))
    if not prompt:
        raise UsageError("--prompt is empty: a text begins with at least one character")
    begun = tokens.encode(prompt)[None]

    def written(warm_start: bool) -> Generated:
        generator = torch.Generator().manual_seed(seed)
        return generate(
            model,
            begun,
            count,
            temperature=temperature,
            generator=generator,
            warm_start=warm_start,
        )

    warm = written(True)
    print(tokens.decode(warm.tokens[0]))
    if warm.converged is not None:
        print(_costs(warm, written(False)), file=sys.stderr)


def _costs(warm: Generated, cold: Generated) -> str:
    """Return what a warm start has saved, in a sentence."""
    ours, theirs = (run.evaluations.double().mean().item() for run in (warm, cold))
    same = "the same text" if torch.equal(warm.tokens, cold.tokens) else "another text"
    return (
        f"\n{len(warm.evaluations)} tokens, {ours:.1f} evaluations of f for each from where the "
        f"last one's solve ended; from cold starts {theirs:.1f}, with {same}. Solves that "
        f"converged: {warm.converged:.1%} and {cold.converged:.1%}."
    )


def _file(run: Path, network: str) -> Path:
    if run.is_file():
        return run
    if not run.exists() and str(run) in trained_names():
        return bundled(str(run))
    found = run / RESULTS / network / FILE
    if not found.is_file():
        names = sorted(path.parent.name for path in (run / RESULTS).glob(f"*/{FILE}"))
        held = f"it has {', '.join(names)}: choose one by --network" if names else "it has none"
        raise UsageError(
            f"{run} has no trained network {network!r}; {held}. `deqlab train language` leaves "
            "networks in its run when they are trained to the end"
        )
    return found


def _loaded(path: Path) -> tuple[Transformer, Tokens]:
    model = trained(path)
    if not isinstance(model, Transformer):
        raise UsageError(
            f"{path} is a network of the recipe {read_weights(path)['recipe']}, which does not "
            "write: take one of `deqlab train language` or hybrid-language"
        )
    for layer in layers_of(model).values():
        layer.solver = replace(layer.solver, rtol=RTOL)
    return model, tokens_of(read_weights(path)["data"])
