"""What an adjoint costs that the pairs of the forward solve precondition, beside a plain one.

    python -m benchmarks.adjoint_times [--threads 1] [--repeats 40] [--workloads a,b] [--out FOLDER]

Both are the GMRES of the library, to the same residual, in turn; Anderson's pairs are made ready
within the time. It is the idea of `adjoint_ideas` that saves most products on the workloads.
"""

from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from benchmarks import results
from benchmarks.adjoint import known_on
from benchmarks.adjoint_ideas import Known, through
from benchmarks.timing import interleaved, median_ratio
from benchmarks.workloads import Workload, workloads
from deqlab.linalg.gmres import GmresResult, gmres
from deqlab.linalg.products import Product
from deqlab.solvers.anderson import Anderson

RTOL = 1e-3
"""What the residual may be, relative to |u|."""

COLUMNS = {
    "workload": "",
    "products": "d",
    "products_preconditioned": "d",
    "milliseconds": ".2f",
    "time_preconditioned/plain": ".2f",
}


def plain(product: Product, u: Tensor) -> GmresResult:
    """Solve v = J'v + u."""
    size = torch.linalg.vector_norm(u, dim=1, dtype=torch.float64).numpy()
    return gmres(product, u, tolerance=RTOL * size, max_products=200)


def preconditioned(product: Product, u: Tensor, known: Known) -> GmresResult:
    """Solve the same for w, and apply the inverse to it."""
    inverse = known.inverse()
    assert inverse is not None
    result = plain(through(product, inverse), u)
    inverse(result.x)
    return result


def measure(workload: Workload, repeats: int) -> dict[str, Any]:
    """Return the row of a workload, solved to the default tolerance."""
    product, u, known = known_on(workload, Anderson(max_steps=400))
    runs: dict[str, Callable[[], GmresResult]] = {
        "plain": partial(plain, product, u),
        "preconditioned": partial(preconditioned, product, u, known),
    }
    times = interleaved(runs, repeats)
    return {
        "workload": f"{workload.key}: {workload.what}",
        "products": runs["plain"]().products,
        "products_preconditioned": runs["preconditioned"]().products,
        "milliseconds": 1e3 * median(times["plain"]),
        "time_preconditioned/plain": median_ratio(times["preconditioned"], times["plain"]),
    }


def main() -> None:
    options = results.parser(__doc__, repeats=40).parse_args()
    environment = results.start("python -m benchmarks.adjoint_times", options)
    found = [
        measure(each, options.repeats) for each in workloads(results.letters(options.workloads))
    ]
    results.show("adjoint, by the inverse of the forward solve", COLUMNS, found)
    content = {"environment": environment, "rtol": RTOL, "rows": found}
    results.save("adjoint-times", options, content)


if __name__ == "__main__":
    main()
