"""The data on which kernels are compared: mixtures, data sets by name, a file of the user's."""

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from deqlab.inputs.classification import load_inputs
from deqlab.inputs.features import EPOCHS, centred_and_scaled
from deqlab.kernels.mixture import GaussianMixture
from deqlab.tasks.files.classification import ClassificationData, balanced_draw
from deqlab.tasks.files.errors import DataError
from deqlab.tasks.files.registry import names_of
from deqlab.tasks.files.tables.file import TableFile
from deqlab.tasks.files.tables.samples import SUFFIXES

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
) -> KernelData:
    """Return the data of one name and one draw.

    Args:
        name: "mixture", a classification set of `tasks` (of photographs the features, see
            `inputs`), or the path of a .csv, .tsv, .npy or .npz file.
        samples: How many are drawn, balanced over the classes; all, if there are fewer. A
            mixture has 0.8 p.
        classes: Which classes of a classification set.
        dimension: p of the mixture.
        seed: The seed of the draw.
        label: Which column or array of a file holds the labels; see `read_samples`.

    Raises:
        DataError: There are no such data, or not of these classes.
    """
    generator = torch.Generator().manual_seed(seed)
    if name == MIXTURE:
        mixture = published_mixture(dimension)
        return KernelData(x=mixture.sample(generator), classes=mixture)
    x, labels = _of_classes(name, classes) if name in NAMES else _from_file(name, label)
    chosen = balanced_draw(labels, samples, generator)
    x, labels = x[chosen], labels[chosen]
    if len(x) < 2:
        raise DataError(f"{name} has one sample, and a kernel compares samples: give more")
    x, _ = centred_and_scaled(x, x[:0], what=f"samples of {name}")
    return KernelData(x=x, classes=labels.unique(return_inverse=True)[1])


def understood(name: str, label: str | None) -> str:
    """Return how a file of the user's is understood, in a line; nothing for data with a name.

    Raises:
        DataError: It is no name, and no such file, or has no such labels; or a label is given, and
            no file.
    """
    if name not in NAMES:
        return _file(name, label).load().description
    if label is not None:
        raise DataError(f"--label is for files; the classes of {name} are known")
    return ""


def fingerprint(name: str) -> str:
    """Return a checksum of a file of the user's; nothing for data with a name.

    Raises:
        DataError: It is no name, and no such file.
    """
    return "" if name in NAMES else _file(name).checksum()


def _of_classes(name: str, classes: tuple[int, ...]) -> tuple[Tensor, Tensor]:
    """Return the training inputs of some classes, and their classes."""
    data = load_inputs(name, EPOCHS)
    absent = [c for c in classes if not 0 <= c < data.num_classes]
    if absent:
        raise DataError(f"{name} has classes 0 to {data.num_classes - 1}, not {absent[0]}")
    kept = torch.isin(data.y_train, torch.tensor(classes))
    return data.x_train[kept], data.y_train[kept]


def _from_file(name: str, label: str | None) -> tuple[Tensor, Tensor]:
    """Return the samples in a file of the user's, and their classes."""
    samples = _file(name, label).load()
    return torch.from_numpy(samples.x), torch.from_numpy(samples.labels)


def _file(name: str, label: str | None = None) -> TableFile:
    if not Path(name).suffix:
        raise DataError(
            f"no data set is named {name!r}; known are {', '.join(NAMES)}, and any "
            f"{', '.join(SUFFIXES)} file of samples"
        )
    return TableFile(name=name, label=label)
