"""What a network's maps leave on disk: their numbers, and a few of the maps themselves."""

from collections.abc import Iterator

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from deqlab.experiments.base import Row
from deqlab.nn import saliency
from deqlab.nn.models import pair
from deqlab.tasks.files.images import ImageData
from deqlab.training.images import Images


def spread(
    model: nn.Sequential, images: Images, count: int, trained: Row, taken: str
) -> Iterator[Row]:
    """Yield the numbers of each image in one row, and their means in another.

    Args:
        model: (features, readout).
        images: The images, of whose test images the first ones are taken.
        count: How many.
        trained: The row of the epoch: how far the network is trained.
        taken: What the rows call it.
    """
    x, y = images.x_test[:count], images.y_test[:count]
    found = saliency.grad_cam(model, x, y)
    with torch.no_grad():
        each = [pair.forward(model, part)[:2] for part in x.split(saliency.ROWS)]
    features, scores = (torch.cat(parts) for parts in zip(*each, strict=True))
    numbers = {
        "entropy": saliency.normalised_entropy(found),
        "area": saliency.area_above_half(found),
        "density": saliency.density(features),
    }
    yield {
        "kind": "maps",
        "taken": taken,
        "epoch": trained["epoch"],
        **{name: _listed(of) for name, of in numbers.items()},
        "correct": (scores.argmax(dim=1) == y).tolist(),
    }
    yield {
        "kind": "spread",
        "taken": taken,
        "epoch": trained["epoch"],
        "test_accuracy": trained["test_accuracy"],
        **{name: of.nanmean().item() for name, of in numbers.items()},
        "empty": (found.flatten(1).amax(dim=1) <= 0).double().mean().item(),
    }


def photos(data: ImageData, places: Int64[Tensor, " n"]) -> Iterator[Row]:
    """Yield the test images at `places`, which are all of one class."""
    for name, place in zip(_names(data, places), places.tolist(), strict=True):
        pixels = (data.x_test[place].view(data.shape) * data.std + data.mean).clamp(0, 1)
        colour = len(pixels) == 3
        yield _image(name, "picture", pixels.permute(1, 2, 0) if colour else pixels[0])


def heat_maps(
    model: nn.Sequential, data: ImageData, places: Int64[Tensor, " n"], column: str
) -> Iterator[Row]:
    """Yield the maps of these images, each over its own maximum."""
    x = data.x_test[places].view(-1, *data.shape)
    if len(x) == 0:
        return
    found = saliency.grad_cam(model, x, data.y_test[places])
    most = found.amax(dim=(1, 2), keepdim=True)
    scaled = found / torch.where(most > 0, most, 1.0)
    for name, pixels in zip(_names(data, places), scaled, strict=True):
        yield _image(name, column, pixels)


def _names(data: ImageData, places: Int64[Tensor, " n"]) -> list[str]:
    labels = data.y_test[places].tolist()
    if data.class_names:
        return [f"{data.class_names[label]} {i}" for i, label in enumerate(labels, start=1)]
    return [f"class {label}, no. {i}" for i, label in enumerate(labels, start=1)]


def _image(name: str, column: str, pixels: Tensor) -> Row:
    # Three digits: one of 256 shades is more than a thousandth.
    rounded = (pixels.double() * 1000).round() / 1000
    return {"kind": "image", "picture": name, "column": column, "pixels": rounded.tolist()}


def _listed(numbers: Tensor) -> list[float | None]:
    """Numbers with six digits, to keep rows small; null for those that are not finite."""
    return [round(number, 6) if number == number else None for number in numbers.tolist()]
