"""The data on which kernels are compared: mixtures, image sets, a file of the user's."""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from deqlab.experiments.kernels.features import EPOCHS
from deqlab.experiments.kernels.inputs import load_inputs
from deqlab.kernels import GaussianMixture
from deqlab.tasks import NAMES as IMAGES
from deqlab.tasks import DataError
from deqlab.tasks.files.tables import SUFFIXES, Samples, read_samples

MIXTURE = "mixture"
NAMES = (MIXTURE, *IMAGES)


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
        name: "mixture", an image set (of cifar10 the features, see `features`), or the path of a
            .csv, .tsv, .npy or .npz file.
        samples: How many are drawn, balanced over the classes; all, if there are fewer. A
            mixture has 0.8 p.
        classes: Which classes of an image set.
        dimension: p of the mixture.
        seed: Of the draw.
        label: Which column or array of a file holds the labels; see `read_samples`.

    Raises:
        DataError: There are no such data, or not of these classes.
    """
    generator = torch.Generator().manual_seed(seed)
    if name == MIXTURE:
        mixture = published_mixture(dimension)
        return KernelData(x=mixture.sample(generator), classes=mixture)
    if name in IMAGES:
        images = load_inputs(name, EPOCHS)
        x, labels = images.x_train, images.y_train
        absent = [c for c in classes if not 0 <= c < images.num_classes]
        if absent:
            raise DataError(f"{name} has classes 0 to {images.num_classes - 1}, not {absent[0]}")
        kept = torch.isin(labels, torch.tensor(classes))
        x, labels = x[kept], labels[kept]
    else:
        table = _table(name, label)
        x, labels = torch.from_numpy(table.x), torch.from_numpy(table.labels)
    chosen = _balanced(labels, samples, generator)
    x, labels = x[chosen].double(), labels[chosen]
    if len(x) < 2:
        raise DataError(f"{name} has one sample, and a kernel compares samples: give more")
    # By a power of two, so that nothing is rounded: squares of numbers above 1e154 overflow.
    exponent = math.frexp(float(x.abs().max()))[1]
    x = torch.from_numpy(np.ldexp(x.numpy(), -exponent))
    x = x - x.mean(dim=0)
    size = (x * x).sum(dim=1).mean().sqrt()
    if not bool(size > 0):
        raise DataError(f"all samples of {name} are the same: they have no kernel")
    return KernelData(x=x / size, classes=labels.unique(return_inverse=True)[1])


def understood(name: str, label: str | None) -> str:
    """Return how a file of the user's is understood, in a line; nothing for data with a name.

    Raises:
        DataError: It is no name, and no such file, or has no such labels; or a label is given, and
            no file.
    """
    if name not in NAMES:
        return _table(name, label).description
    if label is not None:
        raise DataError(f"--label is for files; the classes of {name} are known")
    return ""


def fingerprint(name: str) -> str:
    """Return a checksum of a file of the user's; nothing for data with a name.

    Raises:
        DataError: It is no name, and no such file.
    """
    if name in NAMES:
        return ""
    try:
        with _file(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{name} does not exist, or cannot be read ({error.strerror})") from error


def _file(name: str) -> Path:
    if not Path(name).suffix:
        raise DataError(
            f"no data set is named {name!r}; known are {', '.join(NAMES)}, and any "
            f"{', '.join(SUFFIXES)} file of samples"
        )
    return Path(name)


def _table(name: str, label: str | None) -> Samples:
    path = _file(name)
    return _unchanged_table(path, label, *_version(path))


@lru_cache(maxsize=1)
def _unchanged_table(path: Path, label: str | None, *version: int) -> Samples:
    """Read a file once, not for each draw: large ones take seconds."""
    return read_samples(path, label=label)


def _version(path: Path) -> tuple[int, ...]:
    """Return what changes with the content of a file; nothing if there is none."""
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns


def _balanced(labels: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """Return which samples to take, the classes in turn, each in random order."""
    found = labels.unique().tolist()
    members = [(labels == c).nonzero()[:, 0] for c in found]
    queues = [part[torch.randperm(len(part), generator=generator)] for part in members]
    turns = np.concatenate([np.arange(len(queue)) for queue in queues])
    order = torch.from_numpy(np.argsort(turns, kind="stable"))
    return torch.cat(queues)[order][:samples]
