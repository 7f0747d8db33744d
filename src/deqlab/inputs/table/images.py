"""A folder of images by class as a table: small grey pictures, one number a pixel."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.memory import require_memory
from deqlab.tasks.files.tables.classes import shown

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".tif", ".tiff", ".webp")

SIDE = 16
"""Pixels each way that an image is reduced to: a table of more has more features than these
networks are made for."""


def read_images(folder: Path) -> "pd.DataFrame":
    """Return a row for each image: its pixels, from 0 to 1, and the folder it is in as its "class".

    Args:
        folder: Has a folder for each class, and in it the images; what is no image is left alone.

    Raises:
        DataError: There are no images of two classes, or one cannot be read.
    """
    import pandas as pd

    files = [
        (child.name, file)
        for child in sorted(folder.iterdir())
        if child.is_dir()
        for file in sorted(child.iterdir())
        if file.suffix.lower() in SUFFIXES
    ]
    classes = {name for name, _ in files}
    if len(classes) < 2:
        raise DataError(
            f"{folder} needs a folder of images for each of two or more classes; it has "
            f"{len(classes)} such {'folder' if len(classes) == 1 else 'folders'}"
        )
    require_memory(3 * 8 * len(files) * SIDE**2, where=str(folder))
    pixels = np.stack([_pixels(file) for _, file in files])
    names = [f"pixel {line},{column}" for line in range(SIDE) for column in range(SIDE)]
    return pd.DataFrame(pixels, columns=names).assign(**{"class": [name for name, _ in files]})


def _pixels(file: Path) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(file) as image:  # which refuses images that unpack to gigabytes
            small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    except Exception as error:  # a damaged image raises a dozen kinds
        reason = shown(" ".join(str(error).split()), 200) or type(error).__name__
        raise DataError(f"{file} cannot be read as an image: {reason}") from error
    return np.asarray(small, dtype=np.float64).ravel() / 255
