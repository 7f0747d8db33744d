"""Values: dense solves, policy iteration and value iteration written out, finite differences."""

import itertools

import numpy as np
import pytest
import torch

from deqlab import Anderson, Picard
from deqlab.control import policy_evaluation, value_iteration

S, A, GAMMA = 6, 3, 0.9


def process(*leading, states=S, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rewards = torch.randn(*leading, states, A, generator=generator, dtype=torch.float64)
    weights = torch.rand(*leading, states, A, states, generator=generator, dtype=torch.float64)
    return rewards, weights / weights.sum(dim=-1, keepdim=True)


def evaluated(policy, rewards, transitions, gamma=GAMMA):
    """(I - gamma P_pi)^-1 r_pi, by numpy."""
    reward = (policy * rewards).sum(-1)
    chain = np.einsum("sa,sat->st", policy, transitions)
    return np.linalg.solve(np.eye(len(reward)) - gamma * chain, reward)


def best_of_all(rewards, transitions):
    """The values of the best of all A^S policies."""
    every = itertools.product(range(A), repeat=len(rewards))
    return np.max([evaluated(np.eye(A)[list(p)], rewards, transitions) for p in every], axis=0)


def test_the_best_policy_is_the_best_of_all():
    rewards, transitions = process(2, states=4)
    found = value_iteration(rewards, transitions, GAMMA)
    for i in range(2):
        gold = best_of_all(rewards[i].numpy(), transitions[i].numpy())
        np.testing.assert_allclose(found.states[i], gold, atol=1e-9)
        greedy = np.eye(A)[found.greedy[i].numpy()]
        np.testing.assert_allclose(
            evaluated(greedy, rewards[i].numpy(), transitions[i].numpy()), gold, atol=1e-9
        )


def test_newton_is_policy_iteration():
    rewards, transitions = process(states=40)
    gamma, v, steps = 0.999, np.zeros(40), 0
    while True:
        q = rewards.numpy() + gamma * transitions.numpy() @ v
        if np.abs(q.max(-1) - v).max() < 1e-9:
            break
        v, steps = (
            evaluated(np.eye(A)[q.argmax(-1)], rewards.numpy(), transitions.numpy(), gamma),
            steps + 1,
        )
    found = value_iteration(rewards, transitions, gamma)
    np.testing.assert_allclose(found.states, v, rtol=1e-10)
    assert len(found.solution.trace) == steps + 1 < 10  # iterate by iterate


@pytest.mark.parametrize("solver", [Picard(rtol=1e-12, max_steps=500), Anderson(rtol=1e-12)])
def test_other_solvers_find_the_same_values(solver):
    rewards, transitions = process()
    gold = value_iteration(rewards, transitions, GAMMA).states
    found = value_iteration(rewards, transitions, GAMMA, solver=solver).states
    torch.testing.assert_close(found, gold, rtol=1e-9, atol=1e-9)


def test_a_policy_is_worth_what_a_dense_solve_says():
    rewards, transitions = process(3)
    policy = torch.softmax(rewards.flip(-1), dim=-1)
    found = policy_evaluation(policy, rewards, transitions, GAMMA)
    for i in range(3):
        gold = evaluated(policy[i].numpy(), rewards[i].numpy(), transitions[i].numpy())
        np.testing.assert_allclose(found.states[i], gold, atol=1e-10)
    torch.testing.assert_close(found.states, (policy * found.actions).sum(-1))


@pytest.mark.parametrize("part", range(3), ids=["policy", "rewards", "transitions"])
def test_gradients_are_finite_differences(part):
    rewards, transitions = process(states=4)
    given = [torch.softmax(rewards, dim=-1), rewards, transitions]
    # The policy of value iteration is found, and not given.
    for layer, first in ((policy_evaluation, 0), (value_iteration, 1)):
        if part < first:
            continue
        leaves = [each.clone().requires_grad_() for each in given]
        weights = torch.linspace(-1, 1, 4, dtype=torch.float64)
        (weights @ layer(*leaves[first:], GAMMA).states).backward()

        def loss(place, step, first=first, weights=weights):
            moved = [each.numpy().copy() for each in given]
            moved[part][place] += step
            if first:
                return weights.numpy() @ best_of_all(*moved[1:])
            return weights.numpy() @ evaluated(*moved)

        h = 1e-5
        for place in [(0, 0), (1, 2), (3, 1)]:
            place = (*place, 2) if part == 2 else place
            gold = (loss(place, h) - loss(place, -h)) / (2 * h)
            assert abs(float(leaves[part].grad[place]) - gold) < 1e-7


def test_bad_processes_are_refused_in_a_sentence():
    rewards, transitions = process()
    with pytest.raises(ValueError, match="discount must be 0 or more, and below 1, got 1"):
        value_iteration(rewards, transitions, 1.0)
    with pytest.raises(ValueError, match="transitions must be probabilities in its last dimension"):
        value_iteration(rewards, 1.1 * transitions, GAMMA)
    with pytest.raises(ValueError, match=r"transitions must have the shape \(..., 6, 3, 6\)"):
        value_iteration(rewards, transitions[:, :2], GAMMA)
    with pytest.raises(ValueError, match="policy must be probabilities"):
        policy_evaluation(rewards, rewards, transitions, GAMMA)
