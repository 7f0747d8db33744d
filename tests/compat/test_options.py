"""Options under their names there: read, refused, translated."""

import argparse
import importlib
import inspect
import pkgutil
import subprocess
import sys
import types

import pytest
import torch

import deqlab.compat.torchdeq as compat
from deqlab import DEQ, fixed_point
from deqlab.compat.torchdeq import DEQIndexing, DEQSliced, Options, add_deq_args, get_deq, translate
from deqlab.gradients import Implicit, JacobianFree, Loops, Phantom
from deqlab.solvers import Anderson, Broyden, Picard
from deqlab.training import ConvergenceLog
from tests.compat.gold import Tanh, torchdeq


def test_defaults_are_those_of_torchdeq():
    there = {}
    for kind in (torchdeq.core.DEQBase, torchdeq.core.DEQSliced):
        for name, parameter in inspect.signature(kind.__init__).parameters.items():
            if name not in ("self", "args", "kwargs"):
                there[name] = () if name in ("sup_loc", "indexing") else parameter.default
    assert vars(Options()) == {"core": "sliced"} | there


def test_a_parser_gets_the_options_of_torchdeq():
    found = []
    for add in (torchdeq.add_deq_args, add_deq_args):
        parser = argparse.ArgumentParser()
        add(parser)
        line = [
            "--f_solver",
            "broyden",
            "--ift",
            "--indexing",
            "3",
            "9",
            "--tau",
            ".5",
            "--norm_clip",
        ]
        found.append([vars(parser.parse_args([])), vars(parser.parse_args(line))])
    there, here = found
    for one, other in zip(here, there, strict=True):
        assert one == other


def test_every_public_name_of_torchdeq_is_here_or_says_what_to_use():
    modules = (torchdeq, torchdeq.core, torchdeq.norm, torchdeq.loss, torchdeq.dropout)
    public = {name for module in modules for name in getattr(module, "__all__", vars(module))}
    public |= {*torchdeq.solver.__all__, *torchdeq.grad.__all__, *torchdeq.utils.mem.__all__}
    public = {
        name
        for name in public
        if not name.startswith("_")
        and not isinstance(getattr(torchdeq, name, None), types.ModuleType)
    }
    assert len(public) > 20
    for name in public - set(compat.__all__):
        with pytest.raises(ImportError, match=f"deqlab has no {name} of torchdeq: "):
            exec(f"from deqlab.compat.torchdeq import {name}")
    with pytest.raises(ImportError, match="cannot import name 'get_dqe'"):
        exec("from deqlab.compat.torchdeq import get_dqe")


def modules_of_torchdeq():
    found = pkgutil.walk_packages(torchdeq.__path__, "torchdeq.")
    return [importlib.import_module(each.name) for each in found]


def test_every_name_of_every_submodule_of_torchdeq_is_here_or_says_what_to_use():
    seen = []
    for module in modules_of_torchdeq():
        place = f"deqlab.compat.{module.__name__}"
        names = {
            name
            for name, value in vars(module).items()
            if name[0] != "_" and getattr(value, "__module__", "").startswith("torchdeq")
        }
        for name in names:
            seen.append(f"{place}.{name}")
            if name in compat.__all__:
                here = getattr(importlib.import_module(place), name)
                assert here is getattr(compat, name), seen[-1]
            elif name != "DEQBase":  # what both layers share stands in `core` here as there
                with pytest.raises(ImportError, match=f"deqlab has no {name} of torchdeq: "):
                    exec(f"from {place} import {name}")
        with pytest.raises(ImportError, match="cannot import name 'no_such'"):
            exec(f"from {place} import no_such")
    assert len(modules_of_torchdeq()) > 20
    assert len(seen) > 80


def test_submodules_are_there_before_anything_else_is_imported():
    """Each in a fresh interpreter: here the package has been imported already."""
    code = """
from deqlab.compat.torchdeq.utils.arg_utils import add_deq_args
from deqlab.compat.torchdeq.loss.jacobian import *
import deqlab.compat.torchdeq as torchdeq
assert torchdeq.utils.add_deq_args is add_deq_args is torchdeq.add_deq_args
assert jac_reg is torchdeq.jac_reg
try:
    from deqlab.compat.torchdeq.utils.config import DEQConfig
except ImportError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout == (
        "deqlab has no DEQConfig of torchdeq: get_deq, apply_norm and translate take a Namespace, "
        "a dict, or keywords; Options has them checked\n"
    )


def test_misspelt_and_misplaced_options_are_refused():
    assert torchdeq.get_deq(f_slover="anderson").f_solver is torchdeq.get_deq().f_solver
    with pytest.raises(TypeError, match="f_slover is no option of torchdeq: did you mean f_solver"):
        get_deq(f_slover="anderson")
    with pytest.raises(TypeError, match="f_slover"):
        get_deq({"f_slover": "anderson"})
    with pytest.raises(TypeError, match="takes m and ignores it: it belongs to the call"):
        get_deq(m=5)
    with pytest.raises(ValueError, match="f_solver has no choice 'andersen': did you mean 'ander"):
        get_deq(f_solver="andersen")
    with pytest.raises(TypeError, match="args must be a Namespace"):
        get_deq(3)


def test_options_of_a_program_are_read_and_left_as_they_are():
    program = argparse.Namespace(lr=1e-3, f_tol=1e-2, indexing=None, norm_type="weight_norm")
    before = dict(vars(program))
    deq = get_deq(program, f_tol=1e-5, core="indexing")
    assert isinstance(deq, DEQIndexing)
    assert deq.options == Options(f_tol=1e-5, core="indexing")
    assert vars(program) == before
    assert get_deq(types.SimpleNamespace(grad=[2])).options.grads == (2,)
    with pytest.warns(UserWarning, match="args has f_maxiter, .* if f_max_iter is meant"):
        get_deq(argparse.Namespace(f_maxiter=3))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"tau": 1.5}, "tau must be in"),
        ({"grad": 0}, "grad must be at least 1"),
        ({"grad": [1, 2]}, "grad has 2 numbers for 1 states"),
        ({"grad": 2, "sup_gap": 3}, "at least sup_gap"),
        ({"n_states": 41}, "n_states must be at most f_max_iter"),
        ({"indexing": [5, 5]}, "indexing must rise"),
        ({"indexing": [40]}, "stay below f_max_iter"),
        (
            {"ift": True, "b_solver": "simple_fixed_point_iter"},
            "ends the backward pass",
        ),
        ({"f_max_iter": 0}, "f_max_iter must be at least 1"),
        ({"f_tol": -1.0}, "f_tol must be 0 or more"),
        ({"eval_factor": 0.0}, "eval_factor must be more than 0"),
    ],
)
def test_values_out_of_their_domain_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        get_deq(**options)


@pytest.mark.parametrize(
    ("settings", "kind", "sentence"),
    [
        ({"lam": 1e-3}, ValueError, "lam: it is an absolute weight"),
        ({"ls": True}, ValueError, "ls: Broyden"),
        ({"return_final": True}, ValueError, "return_final: .*simple_fixed_point_iter"),
        ({"beta": 0.5}, TypeError, "anderson of torchdeq ignores beta"),
        ({"m": 1}, ValueError, "m must be at least 2"),
        ({"max_iter": 5}, TypeError, "did you mean f_max_iter"),
    ],
)
def test_settings_of_a_call_that_mean_nothing_here_are_refused(settings, kind, sentence):
    f = Tanh.draw()
    with pytest.raises(kind, match=sentence):
        get_deq(f_solver="anderson")(f, f.z0, solver_kwargs=settings)


def test_settings_of_a_call_reach_the_solver():
    f = Tanh.draw()
    deq = get_deq(f_solver="anderson", f_max_iter=30, eval_factor=2.0)
    deq(f, f.z0, solver_kwargs={"m": 3, "tau": 0.5, "f_max_iter": 25})
    assert deq.layer.solver == Anderson(rtol=0.0, atol=1e-3, max_steps=26, memory=2, damping=0.5)
    deq.eval()(f, f.z0)
    assert deq.layer.solver == Anderson(rtol=0.0, atol=1e-3, max_steps=61)


def test_what_options_are_in_deqlab():
    assert translate() == (Picard(rtol=0.0, atol=1e-3, max_steps=41), JacobianFree())
    assert translate(f_solver="broyden", f_stop_mode="rel", f_tol=1e-4).solver == Broyden(
        rtol=1e-4, max_steps=41, memory=40
    )
    assert translate(hook_ift=True, b_solver="anderson").gradient == Implicit(
        solver=Anderson(rtol=1e-6, max_steps=40)
    )
    assert translate(grad=5, tau=0.5).gradient == Phantom(steps=5, damping=0.5, unrolled=True)
    simple = {"f_solver": "simple_fixed_point_iter", "f_max_iter": 6, "eval_f_max_iter": 9}
    assert translate(**simple, grad=2).gradient == Loops(steps=8, differentiated=2)
    assert translate(**simple, training=False).gradient == Loops(steps=9, differentiated=1)
    assert translate(n_states=4).solver.record == (11, 21, 31)
    assert translate(n_states=4, training=False).solver.record == ()


@pytest.mark.parametrize(
    "options", [{"ift": True}, {"grad": 3, "tau": 0.5}, {"n_states": 2}], ids=str
)
def test_the_code_of_a_translation_gives_what_the_layer_gives(options):
    f = Tanh.draw()
    options |= {"f_solver": "anderson", "f_tol": 1e-8}
    found = {}
    exec(translate(options).code, found)
    solver, gradient = found["solver"], found["gradient"]
    assert (solver, gradient) == translate(options)
    value = fixed_point(f, f.z0, solver=solver, gradient=gradient).value
    states, _ = get_deq(options, core="indexing")(f, f.z0)
    assert torch.equal(value, states[-1])
    for one, other in zip(f.gradient(value), f.gradient(states[-1]), strict=True):
        assert torch.equal(one, other)


def test_the_layer_is_seen_by_what_watches_layers():
    f = Tanh.draw()
    model = torch.nn.Sequential(get_deq(ift=True))
    assert isinstance(model[0], DEQSliced)
    assert isinstance(model[0].layer, DEQ)
    assert not model.state_dict()
    log = ConvergenceLog(model)
    (value,), info = model[0](f, f.z0)
    value.sum().backward()
    log.step()
    assert len(info.solution.adjoint) == 1
    assert log.row()


def test_what_a_layer_does_not_do_is_said():
    f, deq = Tanh.draw(), get_deq()
    with pytest.raises(AttributeError, match=r"f_tol is fixed .* get_deq\(f_tol=...\)"):
        deq.f_tol = 1e-5
    with pytest.raises(ValueError, match=r"info.solution.adjoint\[-1\]"):
        deq(f, f.z0, backward_writer=print)
    with pytest.raises(TypeError, match="z_init must be a tensor, or a list or tuple"):
        deq(f, {"z": f.z0})


def test_rows_that_depend_on_each_other_are_one_sample():
    graph = torch.full((4, 4), 0.1)
    deq = get_deq(f_tol=1e-6, batched=False).eval()
    (value,), info = deq(lambda z: graph @ z + 1, torch.zeros(4, 2))
    torch.testing.assert_close(value, torch.full((4, 2), 5 / 3))
    assert info["abs_trace"].shape[0] == info["rel_lowest"].shape[0] == 1
