"""The data on which kernels are compared: mixtures, data sets by name, a file of the user's."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deqlab.inputs.classification import load_inputs
from deqlab.inputs.features import EPOCHS, centred_and_scaled
from deqlab.inputs.kernel_table import NO_LABEL, KernelTable, is_table
from deqlab.kernels.mixture import GaussianMixture
from deqlab.tasks.files.classification import ClassificationData, balanced_draw
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.registry import REGISTRY, names_of, require_kind
from deqlab.tasks.files.tables.file import TableFile
from deqlab.tasks.files.tables.samples import SUFFIXES, Samples

MIXTURE = "mixture"
NAMES = (MIXTURE, *names_of(ClassificationData))


@dataclass(frozen=True, kw_only=True, eq=False)
class KernelData:
    """Samples, and what is known of their classes.

    Attributes:
        x: (n, p), float64; centred and scaled so that the mean |x|^2 is 1, unless they are a
            draw of a mixture.
        classes: Their labels, or the mixture that they were drawn from.
    """

    x: Tensor
    classes: Tensor | GaussianMixture

    @property
    def tau0(self) -> float:
        """The root mean square norm of the samples."""
        return float((self.x * self.x).sum(dim=1).mean().sqrt())

    @property
    def number_of_classes(self) -> int:
        """How many classes there are."""
        if isinstance(self.classes, GaussianMixture):
            return len(self.classes.means)
        return int(self.classes.max()) + 1


def published_mixture(p: int) -> GaussianMixture:
    """Return two balanced classes in p dimensions, of n = 0.8 p samples together.

    mu_a = 8 e_(8a), C_a = (1 + 8 a / sqrt(p)) I, a = 0, 1; source: Ling et al. (2024).
    """
    means = torch.zeros(2, p, dtype=torch.float64)
    means[0, 0] = means[1, 8] = 8.0
    labels = torch.arange(2).repeat_interleave(round(0.4 * p))
    return GaussianMixture(means, torch.tensor([1.0, 1 + 8 / math.sqrt(p)]), labels)


def load(
    name: str,
    *,
    samples: int,
    classes: tuple[int, ...],
    dimension: int,
    seed: int,
    label: str | None = None,
    drop: tuple[str, ...] = (),
    scaling: str | None = None,
) -> KernelData:
    """Return the data of one name and one draw.

    Args:
        name: "mixture", a classification set of `tasks` (of photographs the features, see
            `inputs`) or MODULE:NAME of one of the user's, a table (see `KernelTable`), or the path
            of a file of samples.
        samples: How many are drawn, balanced over the classes; all, if there are fewer. A
            mixture has 0.8 p.
        classes: Which classes of a classification set.
        dimension: p of the mixture.
        seed: The seed of the draw.
        label: Which column or array of a file holds the labels; see `KernelTable`, or
            `read_samples` for what is no table.
        drop: Columns of a table that are left out.
        scaling: See `KernelTable`.

    Raises:
        DataError: There are no such data, or not of these classes.
    """
    generator = torch.Generator().manual_seed(seed)
    if name == MIXTURE:
        mixture = published_mixture(dimension)
        return KernelData(x=mixture.sample(generator), classes=mixture)
    if _is_dataset(name):
        x, labels = _of_classes(name, classes)
    else:
        read = _samples(name, label, drop, scaling)
        x, labels = torch.from_numpy(read.x), torch.from_numpy(read.labels)
    chosen = balanced_draw(labels, samples, generator)
    x, labels = x[chosen], labels[chosen]
    if len(x) < 2:
        raise DataError(f"{name} has one sample, and a kernel compares samples: give more")
    x, _ = centred_and_scaled(x, x[:0], what=f"samples of {name}")
    return KernelData(x=x, classes=labels.unique(return_inverse=True)[1])


def understood(
    name: str, label: str | None, drop: tuple[str, ...] = (), scaling: str | None = None
) -> str:
    """Return how data of the user's are understood, in a line; nothing for data with a name.

    Raises:
        DataError: It is no name, and no such file, or has no such labels; or an option is given
            that is for files.
    """
    if name != MIXTURE and not _is_dataset(name):
        return _samples(name, label, drop, scaling).description
    options = (("--label", label), ("--drop", drop or None), ("--as-is", scaling))
    for option, value in options:
        if value is not None:
            raise DataError(f"{option} is for files; the classes of {name} are known")
    return ""


def fingerprint(name: str) -> str:
    """Return a checksum of a file of the user's; nothing for data with a name.

    Raises:
        DataError: It is no name, and no such file.
    """
    file = not (name == MIXTURE or _is_dataset(name)) and (
        Path(name).exists() or not is_table(name)
    )
    return _file(name).checksum() if file else ""


def _of_classes(name: str, classes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the training inputs of some classes, and their classes."""
    require_kind(name, ClassificationData)
    data = load_inputs(name, EPOCHS)
    absent = [c for c in classes if not 0 <= c < data.num_classes]
    if absent:
        raise DataError(f"{name} has classes 0 to {data.num_classes - 1}, not {absent[0]}")
    kept = torch.isin(data.y_train, torch.tensor(classes))
    return data.x_train[kept], data.y_train[kept]


def _is_dataset(name: str) -> bool:
    return name in NAMES or (not Path(name).exists() and REGISTRY.knows(name))


def _samples(name: str, label: str | None, drop: tuple[str, ...], scaling: str | None) -> Samples:
    """Return the samples in a table or a file of the user's."""
    if is_table(name):
        return KernelTable(name=name, label=label, drop=drop, scaling=scaling).load()
    read = _file(name, label or None).load()
    if drop or scaling is not None or label == NO_LABEL:
        raise DataError(f"{name} is no table with names, and takes no option but --label")
    return read


def _file(name: str, label: str | None = None) -> TableFile:
    if not Path(name).suffix:
        raise DataError(
            f"no data set is named {name!r}; known are {', '.join(NAMES)}, and any "
            f"{', '.join(SUFFIXES)} or .parquet file of samples"
        )
    return TableFile(name=name, label=label)
