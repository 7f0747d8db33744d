"""What is said of f itself: whether it is one map, finite, and row by row."""

from deqlab.diagnosis.findings import Finding, Rank
from deqlab.diagnosis.measurements import Measurements
from deqlab.diagnosis.wording import listed, percent, sample_numbers, samples, worst


def repeatable(measured: Measurements) -> Finding | None:
    """Whether f is the same map twice in one solve."""
    seen = measured.repeatability
    if seen is None or seen.is_a_map:
        return None
    return Finding(
        rank=Rank.ALARM,
        name="not-repeatable",
        sentence="f is not deterministic: two evaluations at the same point differ by "
        f"{percent(seen.changes)}, so that it has no fixed point, and nothing else was measured.",
        advice="What it draws comes from no generator of torch, or it keeps count in Python: draw "
        "before the solve, and pass the numbers to f as an argument.",
    )


def random(measured: Measurements) -> Finding | None:
    """Whether f draws random numbers that a solve holds."""
    seen = measured.repeatability
    if seen is None or not seen.draws or not seen.is_a_map:
        return None
    held = (
        f"f draws random numbers: two solves differ by {percent(seen.differs)} in one evaluation. "
        "Within one solve deqlab holds them, and all that follows is of one draw."
    )
    if seen.random_modules:
        return Finding(
            rank=Rank.WARNING,
            name="random",
            sentence=f"{held} In train mode: {listed(seen.random_modules)}.",
            advice="Diagnose in eval mode as well, which is where answers are wanted.",
        )
    return Finding(
        rank=Rank.ALARM,
        name="random",
        sentence=f"f is not deterministic. {held}",
        advice="Draw before the solve, and pass the numbers to f as an argument.",
    )


def finite(measured: Measurements) -> Finding | None:
    """For which inputs f is not finite."""
    seen = measured.finiteness
    if seen is None or not seen.samples:
        return None
    where = sample_numbers(seen.samples)
    if seen.at_start:
        when = "at the start already"
    else:
        when = f"after {max(seen.on_the_way.values())} steps of the solve"
    causes = [number for number in seen.samples if number in seen.in_inputs]
    sentence = f"f is not finite (nan or inf) for {where} of {measured.samples}, {when}."
    if causes:
        return Finding(
            rank=Rank.ALARM,
            name="not-finite",
            sentence=f"{sentence} The input itself is not finite for {sample_numbers(causes)}.",
            advice="Mend the data: look for missing values and divisions by zero.",
        )
    if seen.largest:
        place = max(seen.samples, key=lambda number: seen.largest[number])
        others = [size for i, size in enumerate(seen.largest) if i not in seen.samples]
        usual = f", where those of other samples stay within {max(others):.2g}" if others else ""
        sentence += f" The input of sample {place} reaches {seen.largest[place]:.2g}{usual}."
    return Finding(
        rank=Rank.ALARM,
        name="not-finite",
        sentence=sentence,
        advice="Look for a root, a logarithm, an exponential or a division in f at that input; "
        "torch.autograd.detect_anomaly finds the operation in a backward pass.",
    )


def coupled(measured: Measurements) -> Finding | None:
    """Whether rows depend on each other, and through what."""
    seen, known = measured.coupling, measured.repeatability
    if seen is None or not seen.coupled:
        return None
    how = f"none of the first {seen.moved} is felt by others, but later ones are"
    if seen.pairs:
        (moved, felt), per_row = seen.pairs[0], len(seen.pairs) / seen.moved
        how = (
            f"moving row {moved} changes f in row {felt}, and a row is felt by {per_row:.3g} of "
            f"the {measured.samples - 1} others on average"
        )
    sentence = f"f couples the rows of the batch: {how}."
    if known is not None and known.batch_norms:
        return Finding(
            rank=Rank.ALARM,
            name="batch-norm",
            sentence="f has batch norm that takes its statistics from the batch: "
            f"{listed(known.batch_norms)}. So {sentence}",
            advice="Put it outside of f, or take layer or group norm; in eval mode it is harmless. "
            "What follows was measured with the whole batch as one sample.",
        )
    return Finding(
        rank=Rank.ALARM,
        name="coupled-rows",
        sentence=sentence,
        advice="Pass batched=False, which makes the whole state one sample, or let f treat each "
        "row by itself. What follows was measured so.",
    )


def differentiable(measured: Measurements) -> Finding | None:
    """Whether autograd sees how f depends on z."""
    seen = measured.derivatives
    if seen is None or not measured.j_is_wrong:
        return None
    place, error = worst(seen.error)
    return Finding(
        rank=Rank.ALARM,
        name="wrong-derivative",
        sentence=f"J by autograd is not the derivative of f by z in {samples(seen.wrong)}: along "
        f"random directions it and difference quotients of f are {percent(error)} apart "
        f"(sample {place}). Every gradient through the fixed point is wrong then, and no error of "
        "one, nor a spectral radius, was measured.",
        advice="f depends on z where autograd does not see it: look in f for detach, "
        "torch.no_grad, .data, .item() or numpy, and for an autograd.Function with another "
        "backward (a straight-through estimator, say).",
    )


def learns(measured: Measurements) -> Finding | None:
    """Whether autograd sees how f depends on its inputs and parameters."""
    seen = measured.hidden
    if seen is None or not (seen.inputs or seen.parameters):
        return None
    hidden = (*seen.inputs, *seen.parameters)
    return Finding(
        rank=Rank.ALARM if seen.parameters else Rank.WARNING,
        name="hidden-gradient",
        sentence=f"f depends on {listed(hidden)}, and autograd does not see it, or not as it is: "
        "difference quotients of f say otherwise. Gradients to "
        f"{'it' if len(hidden) == 1 else 'them'} through the fixed point are wrong, or zero.",
        advice="Look for detach, torch.no_grad, .data, .item() or numpy between "
        f"{'it' if len(hidden) == 1 else 'them'} and what f returns; where that is meant, set "
        "requires_grad_(False), or detach before the call.",
    )


def implicit(measured: Measurements) -> Finding | None:
    """Whether f depends on z at all."""
    seen = measured.derivatives
    if seen is None or not seen.ignores_z:
        return None
    return Finding(
        rank=Rank.WARNING,
        name="explicit",
        sentence="f does not depend on z: it has the same value at states far from each other. "
        "This is an explicit layer, and one evaluation is all there is to solve.",
        advice="Use z in f, or call f without a solve.",
    )
