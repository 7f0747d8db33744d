"""The modules of a model by the names that its layers go by, in logs, tables and certificates.

The name of a layer is its dotted path in the model, as `named_modules` has it, without what
torch.compile, DataParallel and AveragedModel put around a module: a log of a model that is compiled
later has the same names. The model itself has the name "".
"""

from collections.abc import Iterator

from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

HOLDERS = (nn.DataParallel, DistributedDataParallel, AveragedModel)


def named_parts(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each module of a model once, with its name.

    Example:
        >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
        >>> [name for name, _ in named_parts(nn.DataParallel(model))]
        ['', '0', '1']
    """
    yield from _parts(model, "", set())


def held(module: nn.Module) -> nn.Module | None:
    """Return the module that a wrapper holds; None if it is none."""
    found = module._modules.get("_orig_mod")
    return module.module if found is None and isinstance(module, HOLDERS) else found


def _parts(module: nn.Module, path: str, seen: set[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    inner = held(module)
    if inner is not None:
        yield from _parts(inner, path, seen)
    elif module not in seen:
        seen.add(module)
        yield path, module
        for name, child in module.named_children():
            yield from _parts(child, f"{path}.{name}" if path else name, seen)
