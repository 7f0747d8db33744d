"""Where the public image sets live, and the checksums that make them what they are.

The checksums are those of the uncompressed bytes: the same images are in circulation
under several compressions. MNIST: LeCun, Cortes & Burges (1998). Fashion-MNIST: Xiao,
Rasul & Vollgraf (2017), arXiv:1708.07747.
"""

import difflib
from dataclasses import dataclass

from deqlab.tasks.files.errors import DataError


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One IDX file: its name without ".gz", and what its uncompressed bytes must be."""

    name: str
    sha256: str  # of the uncompressed bytes, in hexadecimal
    num_bytes: int  # uncompressed
    num_dims: int  # 3 for images, 1 for labels

    @property
    def archive(self) -> str:
        """The name under which mirrors publish the file."""
        return f"{self.name}.gz"

    @property
    def most_bytes(self) -> int:
        """The most that a copy may have: what gzip adds at worst is under 1 in 1000."""
        return self.num_bytes + (1 << 16)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A public image set: its files, the mirrors that serve them, and its licence."""

    name: str
    # Training images, training labels, test images, test labels.
    files: tuple[SourceFile, SourceFile, SourceFile, SourceFile]
    mirrors: tuple[str, ...]  # folders, as URLs that end in "/"; tried in this order
    licence: str
    num_train: int = 60_000
    num_test: int = 10_000
    num_classes: int = 10


def _images(name: str, sha256: str, *, count: int) -> SourceFile:
    # The header takes 4 bytes, and 4 more for each dimension.
    return SourceFile(name=name, sha256=sha256, num_bytes=16 + count * 28 * 28, num_dims=3)


def _labels(name: str, sha256: str, *, count: int) -> SourceFile:
    return SourceFile(name=name, sha256=sha256, num_bytes=8 + count, num_dims=1)


MNIST = Source(
    name="mnist",
    files=(
        _images(
            "train-images-idx3-ubyte",
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            count=60_000,
        ),
        _labels(
            "train-labels-idx1-ubyte",
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            count=60_000,
        ),
        _images(
            "t10k-images-idx3-ubyte",
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            count=10_000,
        ),
        _labels(
            "t10k-labels-idx1-ubyte",
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
            count=10_000,
        ),
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    licence="LeCun, Cortes & Burges; usually given as CC BY-SA 3.0",
)

FASHION_MNIST = Source(
    name="fashion_mnist",
    files=(
        _images(
            "train-images-idx3-ubyte",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            count=60_000,
        ),
        _labels(
            "train-labels-idx1-ubyte",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            count=60_000,
        ),
        _images(
            "t10k-images-idx3-ubyte",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            count=10_000,
        ),
        _labels(
            "t10k-labels-idx1-ubyte",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            count=10_000,
        ),
    ),
    mirrors=(
        # The set's own home serves plain http only; what is trusted is the checksum.
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    licence="Zalando SE, MIT",
)

SOURCES = {source.name: source for source in (MNIST, FASHION_MNIST)}

# Bundled with scikit-learn, so it has a name and no files.
DIGITS = "digits"
# One file that no mirror serves; `tasks.cifar10` reads it.
CIFAR10 = "cifar10"
NAMES = (DIGITS, *SOURCES, CIFAR10)


def find_source(name: str) -> Source:
    """Return the public source of the data set called `name`.

    Raises:
        DataError: There is none of that name that has files.
    """
    if name in SOURCES:
        return SOURCES[name]
    if name == DIGITS:
        raise DataError("digits is bundled with scikit-learn and has no files to fetch")
    if name == CIFAR10:
        raise DataError("cifar10 has no download; `deqlab data cifar10` says where to put its file")
    close = difflib.get_close_matches(name, NAMES, n=1)
    hint = f"did you mean {close[0]!r}" if close else f"choose one of {', '.join(NAMES)}"
    raise DataError(f"no image data set is named {name!r}; {hint}")


def owner_of(sha256: str) -> str | None:
    """Name the public file that has this checksum, if any, as "set/file"."""
    for source in SOURCES.values():
        for file in source.files:
            if file.sha256 == sha256:
                return f"{source.name}/{file.name}"
    return None
