"""MNIST, and sets that were published in its form: 60,000 + 10,000 images of 28 x 28 pixels.

MNIST: LeCun, Cortes & Burges (1998). Fashion-MNIST: Xiao, Rasul & Vollgraf (2017),
arXiv:1708.07747.
"""

from jaxtyping import UInt8
from numpy import ndarray

from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.idx import IdxFile
from deqlab.tasks.files.images import ImageData, image_data

_FILES = {
    "train-images-idx3-ubyte": (60_000, 28, 28),
    "train-labels-idx1-ubyte": (60_000,),
    "t10k-images-idx3-ubyte": (10_000, 28, 28),
    "t10k-labels-idx1-ubyte": (10_000,),
}


def _make(dataset: Dataset[ImageData], *items: UInt8[ndarray, "..."]) -> ImageData:
    x_train, y_train, x_test, y_test = items
    return image_data(dataset, (x_train, y_train, x_test, y_test))


def _files(*checksums: str) -> tuple[IdxFile, ...]:
    """Return the files, given the checksums of their uncompressed bytes."""
    return tuple(
        IdxFile(name=name, sha256=sha256, shape=shape)
        for sha256, (name, shape) in zip(checksums, _FILES.items(), strict=True)
    )


MNIST = Dataset(
    name="mnist",
    kind=ImageData,
    splits={"train": 60_000, "test": 10_000},
    shape=(1, 28, 28),
    num_classes=10,
    source="LeCun, Cortes & Burges (1998)",
    licence="LeCun, Cortes & Burges; usually given as CC BY-SA 3.0",
    files=_files(
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    mirrors=(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        "https://storage.googleapis.com/cvdf-datasets/mnist/",
    ),
    make=_make,
)

FASHION_MNIST = Dataset(
    name="fashion_mnist",
    kind=ImageData,
    splits={"train": 60_000, "test": 10_000},
    shape=(1, 28, 28),
    num_classes=10,
    source="Xiao, Rasul & Vollgraf (2017), arXiv:1708.07747",
    licence="Zalando SE, MIT",
    files=_files(
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
    mirrors=(
        # The set's own home serves plain http only; what is trusted is the checksum.
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion/",
    ),
    make=_make,
)
