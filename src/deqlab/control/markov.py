"""Finite Markov decision processes: the Bellman equations as fixed points.

    V = max_a Q(., a),    Q(s, a) = r(s, a) + gamma sum_t P(t | s, a) V(t)
    V = sum_a pi(a | s) Q(s, a)

Both right sides contract by gamma in the maximum norm (Puterman 1994, "Markov Decision Processes",
section 6.2). Newton's method on the first is policy iteration (Puterman & Brumelle 1979): the
Jacobian is gamma P of the greedy policy, so that each step evaluates one policy exactly. Plain
iteration is value iteration, with log(1 / tol) / log(1 / gamma) steps.

Gradients are those of the value of the policy that is greedy there (the envelope theorem): exact
where one action is best in each state. Where several are, they get equal parts of it.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from deqlab.arguments import check_number
from deqlab.control.systems import check_shapes
from deqlab.gradients.base import Gradient
from deqlab.gradients.implicit import Implicit
from deqlab.solution import Solution
from deqlab.solve import fixed_point
from deqlab.solvers.base import Solver
from deqlab.solvers.newton import LARGEST, Newton
from deqlab.solvers.picard import Picard


@dataclass(frozen=True, kw_only=True)
class Values:
    """What states and actions are worth.

    Attributes:
        states: V, (..., S), with gradients.
        actions: Q, (..., S, A), with gradients; its largest is what the greedy policy takes.
        solution: The verdicts of the solve.
    """

    states: Tensor
    actions: Tensor
    solution: Solution[None]

    @property
    def greedy(self) -> Tensor:
        """The best action in each state, (..., S)."""
        return self.actions.argmax(dim=-1)


def value_iteration(
    rewards: Float[Tensor, "..."],
    transitions: Float[Tensor, "..."],
    discount: float,
    *,
    solver: Solver[Any] | None = None,
    gradient: Gradient = Implicit(),
) -> Values:
    """Return the values under the best policy, differentiable in rewards and transitions.

    Args:
        rewards: r(s, a), (..., S, A).
        transitions: P(t | s, a), (..., S, A, S): what comes of action a in state s, in the last
            dimension.
        discount: gamma, in [0, 1).
        solver: The forward method; None is `Newton` to eps^(2/3) of the dtype, which is policy
            iteration, for up to 1024 states, and `Picard` beyond.
        gradient: How to differentiate V.

    Raises:
        ValueError: A shape is wrong, `discount` is outside of [0, 1), or the transitions are no
            probabilities.
        ConvergenceError: A process missed the tolerance.

    Example:
        >>> import torch
        >>> stay, go = torch.eye(2), torch.eye(2).flip(0)
        >>> rewards = torch.tensor([[0.0, 0.0], [1.0, 0.0]])  # 1 for staying in state 1
        >>> values = value_iteration(rewards, torch.stack([stay, go], dim=1), 0.5)
        >>> values.states, values.greedy
        (tensor([1., 2.]), tensor([1, 0]))
    """
    return _solved(_best, rewards, transitions, discount, (), solver, gradient)


def policy_evaluation(
    policy: Float[Tensor, "..."],
    rewards: Float[Tensor, "..."],
    transitions: Float[Tensor, "..."],
    discount: float,
    *,
    solver: Solver[Any] | None = None,
    gradient: Gradient = Implicit(),
) -> Values:
    """Return the values under a policy, differentiable in the policy as well.

    Args:
        policy: pi(a | s), (..., S, A): probabilities of actions in the last dimension.
        rewards: As in `value_iteration`.
        transitions: Likewise.
        discount: Likewise.
        solver: Likewise; Newton solves this one in one step.
        gradient: Likewise.

    Raises:
        ValueError: As in `value_iteration`, or the policy is no probability.
        ConvergenceError: A process missed the tolerance.
    """
    check_shapes({"policy": policy}, {"policy": tuple(rewards.shape[-2:])})
    _check_probabilities("policy", policy)
    return _solved(_mean, rewards, transitions, discount, (policy,), solver, gradient)


def _actions(
    v: Float[Tensor, "B S"],
    rewards: Float[Tensor, "B S A"],
    discounted: Float[Tensor, "B S A S"],
) -> Float[Tensor, "B S A"]:
    """Return Q, given gamma P."""
    states, actions = rewards.shape[-2:]
    product = torch.bmm(discounted.flatten(1, 2), v[..., None])
    return rewards + product.view(-1, states, actions)


def _best(
    v: Float[Tensor, "B S"], rewards: Float[Tensor, "B S A"], discounted: Float[Tensor, "B S A S"]
) -> Float[Tensor, "B S"]:
    # Not max(dim): the gradient of amax is shared by equal actions, in whatever order they stand.
    return _actions(v, rewards, discounted).amax(dim=-1)


def _mean(
    v: Float[Tensor, "B S"],
    rewards: Float[Tensor, "B S A"],
    discounted: Float[Tensor, "B S A S"],
    policy: Float[Tensor, "B S A"],
) -> Float[Tensor, "B S"]:
    return (policy * _actions(v, rewards, discounted)).sum(dim=-1)


def _solved(
    bellman: Any,  # noqa: ANN401, one of the two maps
    rewards: Tensor,
    transitions: Tensor,
    discount: float,
    policy: tuple[Tensor, ...],
    solver: Solver[Any] | None,
    gradient: Gradient,
) -> Values:
    _check_process(rewards, transitions, discount)
    tensors = (rewards, discount * transitions, *policy)
    leading = torch.broadcast_shapes(
        *(each.shape[: each.ndim - dims] for each, dims in zip(tensors, (2, 3, 2), strict=False))
    )
    rows = [
        each.expand(*leading, *each.shape[each.ndim - dims :]).reshape(
            -1, *each.shape[each.ndim - dims :]
        )
        for each, dims in zip(tensors, (2, 3, 2), strict=False)
    ]
    states = rewards.shape[-2]
    if solver is None:
        rtol = torch.finfo(rewards.dtype).eps ** (2 / 3)
        solver = Newton(rtol=rtol) if states <= LARGEST else Picard(rtol=rtol, max_steps=100_000)
    start = rows[0].new_zeros(len(rows[0]), states)
    solution = fixed_point(bellman, start, *rows, solver=solver, gradient=gradient)
    actions = _actions(solution.value, rows[0], rows[1])
    return Values(
        states=solution.value.reshape(*leading, states),
        actions=actions.reshape(*leading, *rewards.shape[-2:]),
        solution=solution.verdicts(),
    )


def _check_process(rewards: Tensor, transitions: Tensor, discount: float) -> None:
    check_number("discount", discount)
    if not 0 <= discount < 1:
        raise ValueError(f"discount must be 0 or more, and below 1, got {discount}")
    if rewards.ndim < 2 or 0 in rewards.shape[-2:]:
        raise ValueError(f"rewards must have the shape (..., S, A), got {tuple(rewards.shape)}")
    states, actions = rewards.shape[-2:]
    shapes: dict[str, tuple[int, ...]] = {
        "rewards": (states, actions),
        "transitions": (states, actions, states),
    }
    check_shapes({"rewards": rewards, "transitions": transitions}, shapes)
    _check_probabilities("transitions", transitions)


def _check_probabilities(name: str, given: Tensor) -> None:
    """Raise ValueError unless the last dimension holds probabilities, to the root of rounding."""
    given, rounding = given.detach(), torch.finfo(given.dtype).eps ** 0.5
    off = float((given.sum(dim=-1) - 1).abs().max())
    least = float(given.min())
    if least < -rounding or off > rounding:
        raise ValueError(
            f"{name} must be probabilities in its last dimension, got a least value of {least:.3g} "
            f"and a sum that is {off:.3g} from 1"
        )
