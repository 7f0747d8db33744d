"""The shallow explicit network with the kernel of a given DEQ.

In high dimension a CK is four numbers, and so is an NTK (see `coefficients`): a network of one or
two layers whose activations have a few parameters can be made to have the same. Three families:

    H-Tanh     a clip(u, -c, c), one layer           odd activations, whose alpha2 and alpha3 are 0
    L-ReLU     max(a u, b u), two layers             ReLU and its like
    cubic      polynomials of degree 3, two layers   the rest

Published for tanh and ReLU by Ling et al. (2024, arXiv:2402.02697); there H-Tanh has a closed
form. The numerical fit, the third family, and the step sizes that make the same network match
the NTK too are derived for this library.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
from scipy.optimize import brentq, least_squares, nnls

from deqlab.activations.base import Activation
from deqlab.activations.hard_tanh import HardTanh
from deqlab.activations.polynomial import Polynomial
from deqlab.activations.ramps import LReLU
from deqlab.kernels.coefficients import Coefficients
from deqlab.kernels.explicit import ExplicitKernel
from deqlab.kernels.implicit import ImplicitKernel
from deqlab.kernels.kinds import Kind, Trained

TOLERANCE = 1e-8
"""Relative difference up to which coefficients are the same; a match of `match_explicit`."""

SMALL = 1e-3
"""A number below this share of the largest counts as much as this share."""

STARTS = 24
"""Random starts of a numerical fit."""


class NoMatchError(ValueError):
    """No network of the families has the kernel."""


def match_explicit(
    kernel: ImplicitKernel,
    tau0: float,
    *,
    kind: Kind = "conjugate",
    trained: Trained | None = None,
) -> ExplicitKernel:
    """Return the explicit network with the same CK, and for kind "tangent" the same NTK too.

    Args:
        kernel: The kernel of the DEQ.
        tau0: Root mean square norm of the data.
        kind: The kernel to match. An NTK is matched by the step sizes of the layers, on top of
            the CK; where that is not possible, by itself.
        trained: Which weights train; an NTK needs it.

    Raises:
        NoMatchError: None of the families has it; the sentence says how near the best came.
        ValueError: The DEQ has no kernel at tau0, or its activation is constant.
    """
    target = kernel.coefficients(tau0, trained=trained)
    best: tuple[float, ExplicitKernel | None] = (math.inf, None)
    for candidate in _candidates(target, kind):
        gap = mismatch(target, candidate.coefficients(tau0), kind)
        if gap <= TOLERANCE:
            return candidate
        if gap < best[0]:
            best = gap, candidate
    found = "" if best[1] is None else f"; the nearest, {best[1].layers}, is off by {best[0]:.1e}"
    raise NoMatchError(
        f"no network of one H-Tanh, two L-ReLU or two cubic layers has the {kind} kernel of "
        f"{kernel} at tau0 = {tau0:g}{found}"
    )


def mismatch(target: Coefficients, other: Coefficients, kind: Kind = "conjugate") -> float:
    """Return the largest difference of the four numbers, relative to what they contribute.

    Each counts relative to itself; to a thousandth of the largest of alpha1 and the multiple of
    the identity where it is smaller: alpha2 and alpha3 vanish for odd activations. The numbers are
    taken for data of norm 1: tau0^2 alpha2, tau0^2 alpha3, and the multiple over tau0^2.
    """
    return float(np.abs(_gaps(target, other, kind)).max())


def _gaps(target: Coefficients, other: Coefficients, kind: Kind) -> np.ndarray:
    want, have = (np.array(getattr(c, kind)) for c in (target, other))
    gaps: np.ndarray = (have - want) / _scales(target, kind)
    return gaps


def _scales(target: Coefficients, kind: Kind) -> np.ndarray:
    """Return what each number is compared with, above 0."""
    numbers = np.abs(np.array(getattr(target, kind)))
    square = target.tau0**2
    size = max(numbers[0], numbers[3] / square)  # alpha1 is 0 for even activations
    units = np.array([1.0, 1 / square, 1 / square, square])
    scales: np.ndarray = np.maximum(numbers, SMALL * size * units)
    return scales


Build = Callable[[np.ndarray], list[Activation]]
"""Parameters of a family -> its layers."""


def _candidates(target: Coefficients, kind: Kind) -> Iterator[ExplicitKernel]:
    """Yield networks, the simplest family first; the last of each family is its best."""
    for layers in _h_tanh(target):
        yield from _with_steps(layers, target, kind)
    for build, starts in ((_l_relu, _l_relu_starts), (_cubics(target), _cubic_starts)):
        for start in starts(target):
            parameters = _fit(build, start, target, kind="conjugate")
            if parameters is None:
                continue
            yield from _with_steps(build(parameters), target, kind)
            if kind == "tangent":
                yield from _tangent_alone(build, parameters, target)


def _h_tanh(target: Coefficients) -> Iterator[list[Activation]]:
    """Yield the one layer of an odd activation, which has two numbers, in closed form."""
    others = target.tau0**2 * max(target.alpha2, target.alpha3)
    if target.alpha1 == 0 or others > 1e-9 * target.alpha1:
        return
    # gamma2 / (tau0^2 alpha1) is 1 for a line, and falls from pi/2, a step's, as c grows.
    ratio = target.gamma2 / (target.tau0**2 * target.alpha1)
    if abs(ratio - 1) <= 1e-12:
        yield [Polynomial((0.0, math.sqrt(target.alpha1)))]
    elif 1 < ratio < math.pi / 2:
        u = brentq(lambda u: _h_tanh_ratio(u) - ratio, 1e-8, 12.0, xtol=1e-15, rtol=1e-15)
        slope = math.sqrt(target.alpha1) / math.erf(u / math.sqrt(2))
        yield [HardTanh(slope, u * target.tau0)]


def _h_tanh_ratio(u: float) -> float:
    """Return gamma2 / (tau^2 E[phi']^2) of clip(x, -c, c), with u = c / tau."""
    e = math.erf(u / math.sqrt(2))
    tail = math.erfc(u / math.sqrt(2)) * u**2 - math.sqrt(2 / math.pi) * u * math.exp(-(u**2) / 2)
    return float((e + tail) / e**2)


def _l_relu(parameters: np.ndarray) -> list[Activation]:
    a1, b1, a2, b2 = parameters.tolist()
    return [LReLU(a1, b1), LReLU(a2, b2)]


def _l_relu_starts(target: Coefficients) -> Iterator[np.ndarray]:
    size = (4 * (target.alpha1 or target.gamma2 / target.tau0**2)) ** 0.25
    for b1, b2 in ((0.0, 0.5), (0.5, 0.5), (0.0, 0.0), (-0.3, 0.6)):
        yield size * np.array([1.0, b1, 1.0, b2])


def _cubics(target: Coefficients) -> Build:
    """Return two cubics from their coefficients on Hermite polynomials of u / tau."""

    def build(parameters: np.ndarray) -> list[Activation]:
        tau = target.tau0
        layers: list[Activation] = []
        for c1, c2, c3 in parameters.reshape(2, 3).tolist():
            layers.append(Polynomial((-c2, (c1 - 3 * c3) / tau, c2 / tau**2, c3 / tau**3)))
            tau = math.sqrt(c1**2 + 2 * c2**2 + 6 * c3**2)
        return layers

    return build


def _cubic_starts(target: Coefficients) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    size = math.sqrt(target.gamma2)
    for _ in range(STARTS):
        first, second = rng.normal(size=(2, 3)) * (0.1, 0.3, 0.1)
        line = np.array([0.8, 0.0, 0.0])
        yield np.concatenate([target.tau0 * (line + first), size * (line + second)])


def _fit(build: Build, start: np.ndarray, target: Coefficients, *, kind: Kind) -> np.ndarray | None:
    """Return the parameters nearest to the target from here; None if there are none."""

    def gaps(parameters: np.ndarray) -> np.ndarray:
        return _gaps(target, ExplicitKernel(build(parameters)).coefficients(target.tau0), kind)

    return _least(gaps, start)


def _least(gaps: Callable[[np.ndarray], np.ndarray], start: np.ndarray) -> np.ndarray | None:
    try:
        found = least_squares(gaps, start, xtol=1e-15, ftol=1e-15, gtol=1e-15, max_nfev=400)
    except (ValueError, ZeroDivisionError, OverflowError):  # it left the domain
        return None
    parameters: np.ndarray = found.x
    return parameters


def _with_steps(
    layers: Sequence[Activation], target: Coefficients, kind: Kind
) -> Iterator[ExplicitKernel]:
    """Yield the network; for the NTK, with the step sizes that bring it nearest."""
    network = ExplicitKernel(layers)
    if kind == "conjugate":
        yield network
        return
    # The NTK is linear in the step sizes.
    units = np.eye(len(layers) + 1)
    parts = [
        replace(network, step_sizes=tuple(unit)).coefficients(target.tau0).tangent for unit in units
    ]
    want = np.array(target.tangent)
    scale = _scales(target, kind)
    etas, _ = nnls(np.array(parts).T / scale[:, None], want / scale)
    yield replace(network, step_sizes=tuple(float(eta) for eta in etas))


def _tangent_alone(
    build: Build, start: np.ndarray, target: Coefficients
) -> Iterator[ExplicitKernel]:
    """Yield a network that has the NTK and another CK."""
    layers = len(build(start))

    def network(parameters: np.ndarray) -> ExplicitKernel:
        etas = tuple(float(root**2) for root in parameters[: layers + 1])
        return ExplicitKernel(build(parameters[layers + 1 :]), step_sizes=etas)

    def gaps(parameters: np.ndarray) -> np.ndarray:
        return _gaps(target, network(parameters).coefficients(target.tau0), "tangent")

    found = _least(gaps, np.concatenate([np.ones(layers + 1), start]))
    if found is not None:
        yield network(found)
