"""`apply_norm` and its company: weights that are never out of date; see `parametrisations`.

torchdeq computes W in `reset_norm` and leaves it, so that a step of an optimiser without a reset
goes unnoticed. Here W follows from its parameters, and `reset_norm` takes the steps of power
iteration, in train mode. A checkpoint of torchdeq is read under the names that it has there.

With a scale g that is learned neither norm bounds W, whatever their names: for a contraction take
`norm_no_scale=True` with a `norm_target_norm` below 1, or `SpectralNorm` of deqlab.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from deqlab.arguments import check_positive
from deqlab.compat.torchdeq.left_out import found_by
from deqlab.compat.torchdeq.options import Config
from deqlab.compat.torchdeq.parametrisations import SpectralNorm, WeightNorm

__getattr__ = found_by(__name__)

ROWS: dict[type[nn.Module], int] = {
    nn.Linear: 0,
    nn.Conv1d: 0,
    nn.Conv2d: 0,
    nn.Conv3d: 0,
    nn.ConvTranspose1d: 1,
    nn.ConvTranspose2d: 1,
    nn.ConvTranspose3d: 1,
}
"""The modules whose weight is normalised, and the dimension of it that counts its rows."""

CALLED = {
    "norm_no_scale": "norm_no_scale",
    "norm_target_norm": "target_norm",
    "norm_clip": "clip",
    "norm_clip_value": "clip_value",
    "sn_n_power_iters": "n_power_iterations",
}
"""Names in a configuration, and those of the keywords that they stand for."""


def apply_norm(
    model: nn.Module,
    norm_type: str = "weight_norm",
    prefix_filter_out: str | Iterable[str] | None = None,
    filter_out: str | Iterable[str] | None = None,
    args: Config = None,
    **settings: Any,  # noqa: ANN401
) -> None:
    """Normalise the weights of all linear and convolutional modules of a model.

    Args:
        model: The model.
        norm_type: "weight_norm", "spectral_norm" or "none".
        prefix_filter_out: Modules whose name begins with one of these are left as they are.
        filter_out: Likewise, whose name contains one of these.
        args: A configuration, whose norm_type, norm_no_scale, norm_target_norm, norm_clip,
            norm_clip_value and sn_n_power_iters go before the arguments.
        settings: learn_scale (True), target_norm (1), clip (False), clip_value (1) and, of the
            spectral norm, n_power_iterations (1).

    Raises:
        TypeError: There is no such setting.
        ValueError: There is no such norm, or a weight is parametrised already.
    """
    found = args if isinstance(args, Mapping) else {} if args is None else vars(args)
    norm_type = found.get("norm_type", norm_type)
    if norm_type not in ("weight_norm", "spectral_norm", "none"):
        raise ValueError(f"norm_type is weight_norm, spectral_norm or none, got {norm_type!r}")
    if norm_type == "none":
        return
    chosen = _settings(found, settings)
    power_steps = chosen.pop("n_power_iterations")
    spectral = {"power_steps": power_steps} if norm_type == "spectral_norm" else {}
    kind = SpectralNorm if norm_type == "spectral_norm" else WeightNorm
    prefixes, parts = _names(prefix_filter_out), _names(filter_out)
    for name, module in list(model.named_modules()):
        was = parametrize.type_before_parametrizations(module)
        if was not in ROWS or name.startswith(prefixes):
            continue
        if any(part in name for part in parts):
            continue
        if parametrize.is_parametrized(module, "weight"):
            raise ValueError(f"the weight of {name or 'the model'} is parametrised already")
        norm = kind(module.weight, ROWS[was], **chosen, **spectral)
        parametrize.register_parametrization(module, "weight", norm, unsafe=True)
        module.register_load_state_dict_pre_hook(_renamed)


def reset_norm(model: nn.Module) -> None:
    """Take the power steps of all spectral norms of a model, in train mode."""
    for module in _normalised(model):
        found = module.parametrizations["weight"]
        found[0].reset(found.original0 if found[0].learn_scale else found.original)


def remove_norm(model: nn.Module) -> None:
    """Leave all weights of a model as they are, as plain parameters."""
    for module in list(_normalised(model)):
        parametrize.remove_parametrizations(module, "weight")


def _normalised(model: nn.Module) -> Iterable[Any]:
    for module in model.modules():
        if parametrize.is_parametrized(module, "weight"):
            found: Any = module.parametrizations
            if isinstance(found["weight"][0], WeightNorm):
                yield module


def _settings(found: Mapping[str, Any], keywords: Mapping[str, Any]) -> dict[str, Any]:
    chosen: dict[str, Any] = {
        "learn_scale": True,
        "target_norm": 1.0,
        "clip": False,
        "clip_value": 1.0,
        "n_power_iterations": 1,
    }
    for name in keywords:
        if name not in chosen:
            raise TypeError(f"{name} is no setting of a norm: they are {', '.join(chosen)}")
    chosen |= keywords
    for there, name in CALLED.items():
        if there in found:
            chosen |= {name: found[there]}
    if "norm_no_scale" in chosen:
        chosen["learn_scale"] = not chosen.pop("norm_no_scale")
    for name in ("target_norm", "clip_value"):
        check_positive(name, chosen[name])
    if not chosen.pop("clip"):
        chosen["clip_value"] = None
    return chosen


def _names(given: str | Iterable[str] | None) -> tuple[str, ...]:
    return () if given is None else (given,) if isinstance(given, str) else tuple(given)


def _renamed(
    module: Any,  # noqa: ANN401
    state: dict[str, Any],
    prefix: str,
    *rest: object,
) -> None:
    """Give the parameters and buffers of a checkpoint of torchdeq the names that they have here."""
    if not parametrize.is_parametrized(module, "weight"):
        return
    norm = module.parametrizations["weight"][0]
    free = "weight_orig" if isinstance(norm, SpectralNorm) else "weight_v"
    here = f"{prefix}parametrizations.weight."
    names = {free: "original0" if norm.learn_scale else "original", "weight_g": "original1"}
    if isinstance(norm, SpectralNorm):
        names |= {"weight_u": "0.u", "weight_v": "0.v"}
    for there, name in names.items():
        if prefix + there in state:
            state[here + name] = state.pop(prefix + there)
