"""Tracers that record one run are refused, in a sentence."""

import io
from contextlib import nullcontext

import pytest
import torch
from torch import fx, nn
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from deqlab import DEQ, fixed_point
from deqlab.nn import DenseCell
from deqlab.tracing import check_not_traced

X = torch.ones(2, 3)
no_deprecation = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:.*torch.jit.*")
pytestmark = no_deprecation


class Cell(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 3)

    def forward(self, z, x):
        return 0.3 * torch.tanh(self.linear(z)) + x


def model():
    torch.manual_seed(0)
    return nn.Sequential(DEQ(Cell()), nn.Linear(3, 2)).eval()


def by_input(x):
    return fixed_point(lambda z: 0.5 * z + x, torch.zeros_like(x)).value


def by_argument(x):
    return fixed_point(lambda z, x: 0.5 * z + x, torch.zeros(2, 3), x).value


def by_closure(x):
    return fixed_point(lambda z: 0.5 * z + x, torch.zeros(2, 3)).value


def in_a_dict(x):
    return fixed_point(lambda z: {"a": 0.5 * z["a"] + x}, {"a": torch.zeros(2, 3)}).value["a"]


every_way = pytest.mark.parametrize("f", [by_input, by_argument, by_closure, in_a_dict])


@every_way
def test_torch_jit_trace_is_refused(f):
    with pytest.raises(NotImplementedError, match=r"torch\.jit\.trace.*output of the example"):
        torch.jit.trace(f, X)


@pytest.mark.parametrize("grad", [True, False])
def test_torch_jit_trace_of_a_module_is_refused(grad):
    with (
        torch.set_grad_enabled(grad),
        pytest.raises(NotImplementedError, match=r"torch\.jit\.trace"),
    ):
        torch.jit.trace(model(), X)


def test_an_onnx_export_by_trace_is_refused():
    with pytest.raises(NotImplementedError, match="or an ONNX export by it"):
        torch.onnx.export(model(), (X,), io.BytesIO(), dynamo=False)


def layers():
    return {"plain": DEQ(Cell()), "prepared": DEQ(DenseCell(3, 3))}


every_layer = pytest.mark.parametrize("layer", layers().values(), ids=layers())


@every_layer
@pytest.mark.parametrize("grad", [True, False])
def test_a_bare_layer_is_refused_by_an_onnx_export(layer, grad):
    # The exporter calls forward with one argument more than the caller gave.
    with (
        torch.set_grad_enabled(grad),
        pytest.raises(NotImplementedError, match=r"torch\.jit\.trace \(or an ONNX export by it\)"),
    ):
        torch.onnx.export(layer, (X,), io.BytesIO(), dynamo=False)


@every_layer
def test_a_layer_within_a_model_is_refused_by_torch_fx(layer):  # a bare one: see test_refusals
    with pytest.raises(NotImplementedError, match=r"symbolic_trace.*a Proxy has none.*leaf"):
        fx.symbolic_trace(nn.Sequential(layer))


@every_layer
@pytest.mark.parametrize("mode", ["real", "fake", "symbolic", "before dispatch"])
def test_make_fx_is_refused(layer, mode):
    options = {"tracing_mode": mode} if mode != "before dispatch" else {"pre_dispatch": True}
    with pytest.raises(NotImplementedError, match=r"under make_fx .* those of the example"):
        make_fx(layer, **options)(X)


@every_layer
def test_fake_tensors_are_refused(layer):
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    fake = mode.from_tensor(X)
    for inside in (True, False):
        with mode if inside else nullcontext():
            with pytest.raises(NotImplementedError, match=r"on fake tensors .* and no numbers"):
                layer(fake)
            with pytest.raises(NotImplementedError, match=r"on fake tensors .* and no numbers"):
                fixed_point(lambda z: 0.5 * z, fake)


def test_torch_jit_script_is_refused():
    with pytest.raises(NotImplementedError, match=r"DEQ under torch\.jit\.script: TorchScript has"):
        torch.jit.script(model())


@pytest.mark.parametrize("f", [by_argument, by_closure, in_a_dict])
def test_torch_fx_is_refused(f):
    with pytest.raises(NotImplementedError, match=r"symbolic_trace.*a Proxy has none.*leaf"):
        fx.symbolic_trace(f)


def test_a_proxy_as_the_start_is_refused():
    # The door itself checks the types of its arguments first, in tests alone.
    with pytest.raises(NotImplementedError, match=r"symbolic_trace.*a Proxy has none"):
        fx.symbolic_trace(lambda x: check_not_traced(x + 1))


def test_torch_fx_takes_a_deq_as_a_leaf():
    net = model()

    class Tracer(fx.Tracer):
        def is_leaf_module(self, module, name):
            return isinstance(module, DEQ) or super().is_leaf_module(module, name)

    traced = fx.GraphModule(net, Tracer().trace(net))
    x = torch.randn(5, 3)
    assert torch.equal(traced(x), net(x))


def test_a_model_still_solves_after_a_tracer_was_refused():
    net = model()
    before = net(X)
    with pytest.raises(NotImplementedError):
        torch.jit.trace(net, X)
    assert torch.equal(net(X), before)
