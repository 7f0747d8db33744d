"""A million characters of Shakespeare's plays, the text that small language models are tried on.

"tinyshakespeare": 40,000 lines, 65 different characters, in one file that has to be put in its
place. It comes without a split; as everywhere, the last tenth is for validation. Source: Karpathy
(2015), "The unreasonable effectiveness of recurrent neural networks".
"""

from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.text import TextData, TextFile, text_data


def _make(dataset: Dataset[TextData], text: str) -> TextData:
    return text_data(dataset.name, text)


SHAKESPEARE = Dataset(
    name="shakespeare",
    kind=TextData,
    splits={"train": 1_003_854, "validation": 111_540},
    shape=(),
    num_classes=65,
    source="Karpathy (2015), char-rnn, from the plays of William Shakespeare",
    licence="public domain",
    files=(
        TextFile(
            name="tinyshakespeare.txt",
            num_bytes=1_115_394,
            sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ),
    ),
    shared_folder="text",
    make=_make,
)
