"""The whole numbers below ten thousand in English words: a text that needs no file.

"zero one two ... nine thousand nine hundred and ninety-nine", each on a line of its own, in the
order of a fixed permutation, so that the part that is kept for validation holds numbers like those
of the part to train on. It is for trying out: a language model has it by heart soon.
"""

from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.text import TextData, text_data

SMALL = tuple(
    (  # noqa: SIM905, a list of strings is four times as long
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
        "fifteen sixteen seventeen eighteen nineteen"
    ).split()
)
TENS = tuple("twenty thirty forty fifty sixty seventy eighty ninety".split())  # noqa: SIM905

COUNT, STEP = 10_000, 6_007  # coprime: multiples of STEP meet every number once


def in_words(number: int) -> str:
    """Return a whole number from 0 to 9,999 in English."""
    if number < 20:
        return SMALL[number]
    if number < 100:
        tens = TENS[number // 10 - 2]
        return f"{tens}-{SMALL[number % 10]}" if number % 10 else tens
    unit, word, link = (100, "hundred", " and ") if number < 1000 else (1000, "thousand", " ")
    rest = number % unit
    if unit == 1000 and rest < 100:
        link = " and "
    head = f"{in_words(number // unit)} {word}"
    return f"{head}{link}{in_words(rest)}" if rest else head


def _make(dataset: Dataset[TextData]) -> TextData:
    lines = (in_words(index * STEP % COUNT) for index in range(COUNT))
    return text_data(dataset.name, "\n".join(lines) + "\n")


NUMBERS = Dataset(
    name="numbers",
    kind=TextData,
    splits={"train": 346_238, "validation": 38_471},
    shape=(),
    num_classes=22,
    source="deqlab",
    licence="public domain",
    bundled_with="deqlab",
    make=_make,
)
