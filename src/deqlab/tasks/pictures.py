"""Grey pictures with numbers from 0 to 1, made or bundled: what inverse problems are tried on.

`dead_leaves` makes pictures of opaque discs that fall on each other, with radii r of density
proportional to r^-3, which makes the statistics of edges and of scales like those of photographs.
Source: Lee, Mumford & Huang (2001), "Occlusion Models for Natural Images". `photographs` cuts the
two photographs of scikit-learn (china and flower, CC BY) into tiles, and `photograph` shows one.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from deqlab.arguments import check_count
from deqlab.tasks.files.errors import DataError

SMALLEST, LARGEST = 1.5, 0.5
"""The radii of discs: pixels, and in units of the side of the picture."""

BUNDLED = ("china", "flower")
"""The photographs of scikit-learn."""

DISCS_PER_AREA = 0.15
"""Discs for each pixel: below so many hardly a pixel of the background is seen."""


def dead_leaves(
    count: int, size: int, *, generator: torch.Generator
) -> Float[Tensor, "count 1 size size"]:
    """Return pictures of discs that fall on each other.

    Args:
        count: How many.
        size: Their height and width in pixels, 8 or more.
        generator: Draws the discs.

    Raises:
        ValueError: A number is outside its domain.

    Example:
        >>> dead_leaves(3, 16, generator=torch.Generator().manual_seed(0)).shape
        torch.Size([3, 1, 16, 16])
    """
    check_count("count", count)
    check_count("size", size)
    if size < 8:
        raise ValueError(f"size must be 8 or more, so that discs have sizes, got {size}")
    place = torch.arange(size).float() + 0.5
    picture = torch.rand(count, 1, 1, generator=generator).repeat(1, size, size)
    largest = LARGEST * size
    for _ in range(round(DISCS_PER_AREA * size**2)):
        draw, grey, y, x = torch.rand(4, count, 1, 1, generator=generator)
        # The inverse of the distribution function of r^-3 between its ends.
        radius = (SMALLEST**-2 - draw * (SMALLEST**-2 - largest**-2)) ** -0.5
        y, x = ((2 * centre - 0.5) * size for centre in (y, x))  # also from beyond the border
        distance = ((place[:, None] - y) ** 2 + (place - x) ** 2).sqrt()
        inside = (radius - distance + 0.5).clamp(0, 1)  # the share of a pixel, at its edge
        picture = torch.lerp(picture, grey.expand_as(picture), inside)
    return picture[:, None]


def photographs(size: int) -> Float[Tensor, "count 1 size size"]:
    """Return the tiles of scikit-learn's two photographs, in grey, row by row.

    Args:
        size: Their height and width in pixels, at most 427.

    Raises:
        DataError: Pillow, which reads them, is not installed.
        ValueError: The size is outside its domain.
    """
    check_count("size", size)
    tiles = []
    for name in BUNDLED:
        grey = _grey(name)
        _check_fits(size, grey)
        cut = grey.unfold(0, size, size).unfold(1, size, size)
        tiles.append(cut.reshape(-1, 1, size, size))
    return torch.cat(tiles)


def photograph(name: str, size: int) -> Float[Tensor, "size size"]:
    """Return the middle of a photograph in grey, as large a square as there is, averaged down.

    Args:
        name: "china" or "flower", scikit-learn's, or "camera", scikit-image's.
        size: Its height and width in pixels, at most 427, or 512 of the camera.

    Raises:
        DataError: Pillow, or scikit-image, is not installed.
        ValueError: There is no such photograph, or the size is outside its domain.
    """
    check_count("size", size)
    if name not in (*BUNDLED, "camera"):
        raise ValueError(f"there is no photograph {name!r}, choose among {BUNDLED} and 'camera'")
    grey = _camera() if name == "camera" else _grey(name)
    _check_fits(size, grey)
    side = min(grey.shape)
    top, left = ((length - side) // 2 for length in grey.shape)
    square = grey[top : top + side, left : left + side]
    return adaptive_avg_pool2d(square[None], size)[0]


def coordinates(height: int, width: int) -> Float[Tensor, "height width 2"]:
    """Return the centres of pixels (y, x), with the picture from -1 to 1 each way.

    Args:
        height: Pixels down.
        width: Pixels to the right.

    Example:
        >>> coordinates(1, 2)
        tensor([[[ 0.0000, -0.5000],
                 [ 0.0000,  0.5000]]])
    """
    check_count("height", height)
    check_count("width", width)
    y, x = ((2 * torch.arange(count) + 1) / count - 1 for count in (height, width))
    return torch.stack(torch.meshgrid(y, x, indexing="ij"), dim=-1)


def _grey(name: str) -> Float[Tensor, "H W"]:
    from sklearn.datasets import load_sample_image

    try:
        colours = load_sample_image(f"{name}.jpg")
    except ImportError as error:
        raise DataError(
            "the photographs of scikit-learn are JPEG files, and Pillow, which reads them, is not "
            "installed: pip install pillow, or take dead leaves"
        ) from error
    return torch.tensor(colours).float().mean(dim=2) / 255


def _camera() -> Float[Tensor, "512 512"]:
    try:
        from skimage.data import camera
    except ImportError as error:
        raise DataError(
            "the photograph of the camera comes with scikit-image, which is not installed: pip "
            "install scikit-image, or take china or flower"
        ) from error
    return torch.tensor(camera()).float() / 255


def _check_fits(size: int, grey: Tensor) -> None:
    height, width = grey.shape
    if size > min(height, width):
        raise ValueError(
            f"the photograph is of {height} x {width} pixels, and so size must be at most "
            f"{min(height, width)}, got {size}"
        )
