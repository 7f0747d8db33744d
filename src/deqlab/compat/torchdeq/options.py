"""The options of torchdeq, under their names there, read and checked.

There a name that is none is taken without a word, as everything of a program's configuration is,
and its default is used. Here a keyword or a key of a dict is refused if it is none, and a
`Namespace`, which has the options of a whole program in it, warns of names that are nearly one.
"""

import argparse
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from difflib import get_close_matches
from typing import Any, TypeAlias

from deqlab.arguments import check_count, check_number, check_positive, check_whole

Config: TypeAlias = Mapping[str, Any] | argparse.Namespace | object | None
"""What torchdeq takes for `args`: a dict, a Namespace, or an object with attributes."""

SOLVERS = ("anderson", "broyden", "fixed_point_iter", "simple_fixed_point_iter")

ELSEWHERE = {
    **dict.fromkeys(
        ("norm_type", "norm_no_scale", "norm_clip", "norm_clip_value", "norm_target_norm"),
        "apply_norm(model, ...)",
    ),
    "sn_n_power_iters": "apply_norm(model, ...)",
    "gamma": "fp_correction(..., gamma=...)",
    **dict.fromkeys(
        ("jac_loss_weight", "jac_loss_freq", "jac_incremental"), "the training loop, with jac_reg"
    ),
    "sradius_mode": "the call, deq(func, z0, sradius_mode=True)",
    **dict.fromkeys(
        ("m", "lam", "ls", "LBFGS_thres", "return_final"),
        "the call, deq(func, z0, solver_kwargs={...})",
    ),
}
"""Names that torchdeq knows and `get_deq` does not read, and where each belongs."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `get_deq` of torchdeq reads, with its defaults.

    Attributes:
        core: "sliced" or "indexing": how several states come about, see `core`.
        f_solver: The forward solver, one of `SOLVERS`.
        b_solver: The solver of the backward pass, for `ift`.
        no_stat: Has no effect: every solve has its verdicts.
        f_max_iter: Iterations of the forward solve, at least 1.
        b_max_iter: Iterations of the backward solve, likewise.
        f_tol: Tolerance of the forward solve, 0 or more.
        b_tol: Tolerance of the backward solve, relative to the cotangent, whatever `b_stop_mode`.
        f_stop_mode: "abs" or "rel": whether `f_tol` is relative to |f(z)|.
        b_stop_mode: "abs" or "rel".
        eval_factor: Factor of `f_max_iter` in eval mode, more than 0.
        eval_f_max_iter: Iterations in eval mode; 0 leaves them to `eval_factor`.
        ift: Whether the gradient is that of the implicit function theorem.
        hook_ift: The same as `ift` here.
        grad: Steps of the phantom gradient, one number, or one for each state.
        tau: Damping of these steps, in (0, 1].
        sup_gap: Also return every so many of these steps; 0 or less for none.
        sup_loc: Also return these of them.
        n_states: States that a call in train mode returns, at evenly spread iterations.
        indexing: Iterations after which states are returned, rising, below `f_max_iter`.
    """

    core: str = "sliced"
    f_solver: str = "fixed_point_iter"
    b_solver: str = "fixed_point_iter"
    no_stat: bool | None = None
    f_max_iter: int = 40
    b_max_iter: int = 40
    f_tol: float = 1e-3
    b_tol: float = 1e-6
    f_stop_mode: str = "abs"
    b_stop_mode: str = "abs"
    eval_factor: float = 1.0
    eval_f_max_iter: int = 0
    ift: bool = False
    hook_ift: bool = False
    grad: int | Sequence[int] = 1
    tau: float = 1.0
    sup_gap: int = -1
    sup_loc: Sequence[int] = ()
    n_states: int = 1
    indexing: Sequence[int] = ()

    def __post_init__(self) -> None:
        _check_word("core", self.core, ("sliced", "indexing"))
        for name in ("f_solver", "b_solver"):
            _check_word(name, getattr(self, name), SOLVERS)
        for name in ("f_stop_mode", "b_stop_mode"):
            _check_word(name, getattr(self, name), ("abs", "rel"))
        for name in ("f_max_iter", "b_max_iter", "n_states"):
            check_count(name, getattr(self, name))
        check_count("eval_f_max_iter", self.eval_f_max_iter, least=0)
        for name in ("f_tol", "b_tol", "tau"):
            check_number(name, getattr(self, name))
        for name in ("f_tol", "b_tol"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ValueError(f"{name} must be 0 or more, and finite, got {getattr(self, name)}")
        check_positive("eval_factor", self.eval_factor)
        if not 0 < self.tau <= 1:
            raise ValueError(f"tau must be in (0, 1], got {self.tau}; 1 is undamped")
        self._check_states()
        if self.exact and self.b_solver == "simple_fixed_point_iter":
            raise ValueError(
                "b_solver='simple_fixed_point_iter' ends the backward pass of torchdeq in a "
                "TypeError: take 'fixed_point_iter', or ift=False with grad=b_max_iter"
            )

    def _check_states(self) -> None:
        check_whole("grad", *self.grads)
        if len(self.grads) not in (1, len(self.stops)):
            raise ValueError(
                f"grad has {len(self.grads)} numbers for {len(self.stops)} states: give one for "
                "all, or one for each"
            )
        if min(self.grads) < 1 or self.sup_gap > min(self.grads):
            raise ValueError(
                f"grad must be at least 1, and at least sup_gap, got grad={self.grad} and "
                f"sup_gap={self.sup_gap}"
            )

    @property
    def exact(self) -> bool:
        """Whether the gradient of the last state is that of the implicit function theorem."""
        return bool(self.ift or self.hook_ift)

    @property
    def grads(self) -> tuple[int, ...]:
        """Steps of phantom gradients: one number for all states, or one for each."""
        return tuple(self.grad) if isinstance(self.grad, Sequence) else (self.grad,)

    @property
    def samples_steps(self) -> bool:
        """Whether states between the phantom steps are returned too."""
        return self.sup_gap > 0 or len(self.sup_loc) > 0

    @property
    def stops(self) -> tuple[int, ...]:
        """Iterations after which states are returned; the last is the end of the solve."""
        return self.stops_within(self.f_max_iter)

    def stops_within(self, iterations: int) -> tuple[int, ...]:
        """Return the same for a solve of so many iterations.

        Raises:
            ValueError: They are more than the iterations, or do not rise.
        """
        count = self.n_states
        if count > 1 and self.core == "sliced":
            stops = tuple((each + 1) * (iterations // count) for each in range(count))
        elif count > 1:  # from the end, in equal distances
            gap = iterations // count
            stops = tuple(iterations - (count - 1 - each) * gap for each in range(count))
        else:
            stops = (*self.indexing, iterations)
        check_whole("indexing", *stops)
        if any(one >= other for one, other in zip((0, *stops), stops, strict=False)):
            raise ValueError(
                f"states after {', '.join(map(str, stops))} iterations: n_states must be at most "
                "f_max_iter, and indexing must rise from 1 and stay below f_max_iter"
            )
        return stops

    def iterations(self, *, training: bool) -> int:
        """Return the limit on the iterations of a forward solve."""
        if training:
            return self.f_max_iter
        return self.eval_f_max_iter or max(1, int(self.f_max_iter * self.eval_factor))


NAMES = tuple(field.name for field in fields(Options))


def read(args: Config, keywords: Mapping[str, Any]) -> Options:
    """Return the options in a configuration, and in keywords, which go before it.

    Neither is written to; torchdeq writes the keywords into the configuration.

    Raises:
        TypeError: A keyword or a key of a dict is no option.
        ValueError: An option is out of its domain.
    """
    if isinstance(args, Mapping):
        found = {str(name): value for name, value in args.items()}
        for name in found.keys() - set(NAMES) - ELSEWHERE.keys():
            raise TypeError(_unknown(name))
    elif args is None:
        found = {}
    elif hasattr(args, "__dict__"):
        found = dict(vars(args))
        for name in found.keys() - set(NAMES) - ELSEWHERE.keys():
            _warn_if_near(name)
    else:
        raise TypeError(
            f"args must be a Namespace, a dict, or an object with attributes, got {args!r}"
        )
    for name in keywords.keys() - set(NAMES):
        raise TypeError(_unknown(name))
    chosen = {name: value for name, value in (found | dict(keywords)).items() if name in NAMES}
    for name in ("indexing", "sup_loc"):
        if chosen.get(name, ()) is None:
            del chosen[name]
    return Options(**chosen)


def _check_word(name: str, value: object, words: Sequence[str]) -> None:
    if value not in words:
        near = get_close_matches(str(value), words, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"it is one of {', '.join(words)}"
        raise ValueError(f"{name} has no choice {value!r}: {hint}")


def _unknown(name: str) -> str:
    if name in ELSEWHERE:
        return f"get_deq of torchdeq takes {name} and ignores it: it belongs to {ELSEWHERE[name]}"
    near = get_close_matches(name, NAMES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"they are {', '.join(NAMES)}"
    return f"{name} is no option of torchdeq: {hint}"


def _warn_if_near(name: str) -> None:
    near = get_close_matches(name, NAMES, n=1, cutoff=0.75)
    if near:
        warnings.warn(
            f"args has {name}, which is no option of torchdeq and is not read; if {near[0]} is "
            "meant, rename it",
            stacklevel=4,
        )
