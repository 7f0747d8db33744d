"""The fixed-point solvers of jaxopt and optimistix, compiled, on the plain tanh cell.

Both take the batch as one problem: Anderson acceleration has one set of coefficients for all rows.
(Mapped over the rows with `vmap`, jaxopt takes twenty times as long on workload a.) The tolerance
of jaxopt is absolute: it is the relative one times the least norm of a row of the solution, which
only a benchmark knows. optimistix compares entry by entry.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from benchmarks.cells import tanh
from benchmarks.contenders import RTOL, Answer, Case, Contender
from benchmarks.gold import Gold
from benchmarks.workloads import Workload

MAX_STEPS = 300


def one_thread() -> None:
    """Hold the compiler of jax to one thread; to be called before jax is imported."""
    flags = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()


def _arrays(workload: Workload) -> tuple[Any, Any, Any]:
    """Return z0, x and w as arrays of jax."""
    from jax import numpy as jnp

    tensors = (workload.z0, workload.tensors["x"], workload.tensors["w"])
    z0, x, w = (jnp.asarray(tensor.contiguous().numpy()) for tensor in tensors)
    return z0, x, w


def _torch(array: Any) -> Tensor:  # noqa: ANN401
    import numpy as np

    return torch.from_numpy(np.array(array))


def _case(
    name: str,
    workload: Workload,
    gold: Gold,
    run: Callable[[], tuple[Any, Any]],
    iterates: Callable[[], Iterator[tuple[int, Tensor]]],
) -> Case:
    """Return a case from a compiled run that returns the value and the evaluations of f."""
    import jax
    from jax import numpy as jnp

    _, x, w = _arrays(workload)
    bare = jax.jit(lambda z: jnp.tanh(z @ w + x))
    point = jnp.asarray(gold.z.float().numpy())

    def answer() -> Answer:
        value, evaluations = run()
        stopped = int(evaluations) < MAX_STEPS
        return Answer(
            value=_torch(value),
            evaluations=int(evaluations),
            verdict="stopped" if stopped else f"{MAX_STEPS} steps",
        )

    return Case(
        name=name,
        solve=lambda: jax.block_until_ready(run()),
        bare=lambda: jax.block_until_ready(bare(point)),
        answer=answer,
        iterates=iterates,
    )


def _picard_iterates(workload: Workload) -> Iterator[tuple[int, Tensor]]:
    f, z = workload.map(), workload.z0
    for evaluations in range(1, MAX_STEPS + 1):
        z = f(z)
        yield evaluations, z


def jaxopt_contender(solver: str) -> Contender:
    """Return a solver of jaxopt by the name of its class."""

    def cases(workload: Workload, gold: Gold) -> list[Case]:
        if workload.cell is not tanh:
            return []
        import jax
        import jaxopt
        from jax import numpy as jnp

        z0, x, w = _arrays(workload)
        tolerance = RTOL * gold.z.norm(dim=1).min().item()
        method = getattr(jaxopt, solver)(
            lambda z, x: jnp.tanh(z @ w + x), maxiter=MAX_STEPS, tol=tolerance, implicit_diff=False
        )

        @jax.jit
        def compiled(z0: Any, x: Any) -> tuple[Any, Any]:  # noqa: ANN401
            value, state = method.run(z0, x)
            return value, state.num_fun_eval

        def iterates() -> Iterator[tuple[int, Tensor]]:
            update = jax.jit(method.update)
            z, state = z0, method.init_state(z0, x)
            for _ in range(MAX_STEPS):
                z, state = update(z, state, x)
                yield int(state.num_fun_eval), _torch(z)

        return [_case(f"jaxopt {solver}", workload, gold, lambda: compiled(z0, x), iterates)]

    return cases


def optimistix_contender() -> Contender:
    """Return the fixed-point iteration of optimistix."""

    def cases(workload: Workload, gold: Gold) -> list[Case]:
        if workload.cell is not tanh:
            return []
        import jax
        import optimistix
        from jax import numpy as jnp

        z0, x, w = _arrays(workload)
        # atol: a tenth of rtol at entries of size one, for entries that are zero.
        solver = optimistix.FixedPointIteration(rtol=RTOL, atol=RTOL / 10)

        @jax.jit
        def compiled(z0: Any, x: Any) -> tuple[Any, Any]:  # noqa: ANN401
            solution = optimistix.fixed_point(
                lambda z, x: jnp.tanh(z @ w + x), solver, z0, x, max_steps=MAX_STEPS, throw=False
            )
            return solution.value, solution.stats["num_steps"]

        return [
            _case(
                "optimistix FixedPointIteration",
                workload,
                gold,
                lambda: compiled(z0, x),
                lambda: _picard_iterates(workload),
            )
        ]

    return cases
