"""Data-parallel training of a DEQ on two processes equals training on one.

Both ranks hold the same layer and half of the batch each. DDP averages gradients, so that the mean
over ranks of the mean loss of each half is the mean loss of the whole batch.
"""

import time
import warnings

import pytest
import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from deqlab import DEQ, Anderson, Picard
from deqlab.nn import ConvCell, DenseCell, SpectralNorm
from deqlab.stability import DenoisingEnergy, FiniteDifferences, Hutchinson, Penalty, RadiusLoss
from deqlab.training import ConvergenceLog, RateControl
from tests.contracts.dense import at
from tests.contracts.gradients import GRADIENTS
from tests.problems import F64, generator, normal
from tests.training.gated import Gated

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this torch has no gloo backend"
)

TIMEOUT = 600.0  # seconds; a deadlock ends here, and a machine with much else to do does not
RANKS = 2
RTOL = 1e-11


def network(case, rtol=RTOL):
    case = at(case, rtol)
    torch.manual_seed(0)
    cell = DenseCell(3, 5, activation=torch.tanh, constraint=SpectralNorm(0.9), gain=3.0)
    deq = DEQ(cell, solver=case.solver, gradient=case.gradient, on_failure="raise")
    return nn.Sequential(deq, nn.Linear(5, 1)).double()


def batch():
    # The second half saturates tanh: its adjoint takes fewer steps than that of the first.
    scale = torch.tensor([0.05, 0.05, 30.0, 30.0], dtype=F64)[:, None]
    return scale * normal(4, 3, seed=1), normal(4, 1, seed=2)


def loss(model, x, y):
    return nn.functional.mse_loss(model(x), y)


def scenario(name, model, x, y):
    """Leave the gradients of one scenario in `model`."""
    if name == "two forwards before one backward":
        (loss(model, x, y) + loss(model, 2 * x, y)).backward()
    elif name == "accumulation":
        no_sync = getattr(model, "no_sync", warnings.catch_warnings)  # one process has none
        with no_sync():
            (loss(model, x, y) + loss(model, 2 * x, y)).backward()
        loss(model, 3 * x, y).backward()
    else:
        loss(model, x, y).backward()


SCENARIOS = ["one forward", "two forwards before one backward", "accumulation"]


def gradients_of(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def each_scenario(model, x, y):
    results = {}
    for name in SCENARIOS:
        model.zero_grad()
        scenario(name, model, x, y)
        results[name] = gradients_of(model)
    return results


PENALTIES = [
    Hutchinson(weight=0.3),
    FiniteDifferences(weight=0.3),
    DenoisingEnergy(weight=0.3),
    RadiusLoss(weight=0.3, steps=5),
]


def penalised(model, penalty, x, y, rank):
    """Leave the gradients of a loss with a penalty whose random numbers are those of a rank."""
    (loss(model, x, y) + penalty(generator=generator(rank))).backward()


def convolutional():
    torch.manual_seed(0)
    solver = Anderson(rtol=RTOL, max_steps=200)
    return DEQ(ConvCell(4, (3, 3)), solver=solver, on_failure="raise").double()


def trained(model, x):
    """What three steps of training leave in parameters and buffers: those of operator norms."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):
        optimizer.zero_grad()
        # Two forwards: the second finds buffers that the tape of the first has seen.
        (model(x).square().mean() + model(2 * x).square().mean()).backward()
        optimizer.step()
    return torch.cat([t.detach().flatten() for t in model.state_dict().values()])


def held(rank):
    """What control and the log decide where one process alone has slow samples."""
    deq = DEQ(Gated(gain=0.4), solver=Picard(rtol=1e-3, max_steps=10), on_failure="ignore")
    control = RateControl(deq, target=0.5)
    log = ConvergenceLog(deq, policy=lambda slip: False, window=2)
    if rank == 1:
        deq.solver = Picard(rtol=1e-3, max_steps=2)
    going_on = []
    for _ in range(4):
        deq(normal(3, 8, seed=rank).float()).sum().backward()
        control.step()
        going_on.append(log.step())
    own = deq.last.converged.double().mean().item()
    return {"gain": deq.cell.gain.item(), "going_on": going_on, "own": own, "slips": log.slips}


def worker(rank, folder):
    """What one process does; its results go to a file."""
    # deqlab's warnings are errors here too.
    warnings.simplefilter("error")
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=RANKS
    )
    half = slice(rank * 2, rank * 2 + 2)
    x, y = (t[half] for t in batch())
    results = {}
    for name, case in GRADIENTS.items():
        parallel = DistributedDataParallel(network(case), find_unused_parameters=False)
        results[name] = each_scenario(parallel, x, y)
    for regularizer in PENALTIES:
        parallel = DistributedDataParallel(network(GRADIENTS["Implicit"]))
        penalised(parallel, Penalty(parallel, regularizer), x, y, rank)
        results[type(regularizer).__name__] = gradients_of(parallel)
    solution = network(GRADIENTS["Implicit-Picard"])[0].solve(x)
    solution.value.sum().backward()
    results["adjoint steps"] = solution.adjoint[0].evaluations
    images = normal(4, 4, 3, 3, seed=3)
    results["convolutional"] = trained(DistributedDataParallel(convolutional()), images[half])
    results["held"] = held(rank)
    torch.save(results, folder / f"{rank}.pt")
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """The results of both ranks: the processes start once, they take seconds to import torch."""
    folder = tmp_path_factory.mktemp("ddp")
    context = multiprocessing.start_processes(
        worker, args=(folder,), nprocs=RANKS, join=False, start_method="spawn"
    )
    deadline = time.monotonic() + TIMEOUT
    try:
        # True when all have ended well; raises with the traceback of a rank that has not.
        while not context.join(timeout=1.0):
            if time.monotonic() > deadline:
                pytest.fail(f"two processes did not finish within {TIMEOUT:g} s: a deadlock")
    finally:
        for process in context.processes:
            if process.is_alive():
                process.kill()
            process.join()
    return [torch.load(folder / f"{rank}.pt") for rank in range(RANKS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
@pytest.mark.parametrize("gradient", GRADIENTS)
def test_two_processes_have_the_gradients_of_one(ranks, gradient, name):
    model = network(GRADIENTS[gradient])
    scenario(name, model, *batch())
    expected = gradients_of(model)
    assert (expected != 0).all()
    for rank in ranks:
        # Solves to 1e-11, amplified by 1 / (1 - 0.9) in value and adjoint: 1e-6 is room enough.
        torch.testing.assert_close(rank[gradient][name], expected, rtol=1e-6, atol=1e-9)
    assert torch.equal(ranks[0][gradient][name], ranks[1][gradient][name])


@pytest.mark.parametrize("regularizer", PENALTIES, ids=lambda r: type(r).__name__)
def test_two_processes_have_the_penalty_of_one(ranks, regularizer):
    model = network(GRADIENTS["Implicit"])
    penalty, (x, y) = Penalty(model, regularizer), batch()
    for rank in range(RANKS):  # each draws its own numbers, for its half of the batch
        half = slice(rank * 2, rank * 2 + 2)
        penalised(model, penalty, x[half], y[half], rank)
    expected, plain = gradients_of(model) / RANKS, ranks[0]["Implicit"][SCENARIOS[0]]
    for rank in ranks:
        found = rank[type(regularizer).__name__]
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
        assert (found - plain).abs().max() > 1e-4  # the penalty has a part in it


def test_the_operator_norms_of_two_processes_are_those_of_one(ranks):
    alone = trained(convolutional(), normal(4, 4, 3, 3, seed=3))
    assert torch.equal(ranks[0]["convolutional"], ranks[1]["convolutional"])
    torch.testing.assert_close(ranks[0]["convolutional"], alone, rtol=1e-6, atol=1e-8)


def test_the_ranks_took_different_numbers_of_adjoint_steps(ranks):
    # Else the test above would not show that ranks may differ.
    first, second = (rank["adjoint steps"] for rank in ranks)
    assert first > second + 2


def test_a_looser_solver_would_be_seen(ranks):
    # The comparison has teeth: one per cent of tolerance moves the gradient by more than 1e-6.
    model = network(GRADIENTS["Implicit"], rtol=1e-2)
    scenario(SCENARIOS[0], model, *batch())
    gap = (gradients_of(model) - ranks[0]["Implicit"][SCENARIOS[0]]).abs().max()
    assert gap > 1e-6


def test_control_and_policies_decide_alike_in_all_processes(ranks):
    first, second = (rank["held"] for rank in ranks)
    assert (first["own"], second["own"]) == (1.0, 0.0)  # one process alone has left
    assert first["gain"] == second["gain"] < 0.4
    assert first["going_on"] == second["going_on"] == [True, False, True, False]
    assert "0.0 % of the samples" in first["slips"][0]
