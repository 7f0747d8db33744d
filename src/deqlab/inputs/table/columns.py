"""What the columns of a table are, and how they become numbers.

A column is numeric if its values are numbers, or texts that nearly all say numbers. Other columns
are categories, one number for each of the most frequent; a column of texts that hardly repeat
(names, addresses, dates as text) tells a model of categories nothing, and is left out.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from deqlab.tasks.files.tables.classes import plural

if TYPE_CHECKING:
    import pandas as pd

NUMBERS = 0.95
"""The share of the texts in a column that must say numbers for it to be numeric."""

REPEATS = 0.5
"""The different texts of a column, as a share of its rows, above which it is left out."""

FEW = 20
"""Different texts that never are too many, and the most that have a number of their own."""


INDEX = "Unnamed: 0"
"""What pandas calls a first column without a name, in which it and R write the names of rows."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The features of a table by what they are.

    Attributes:
        numeric: Names of columns of numbers.
        categories: Those of columns of categories.
        left_out: Why a column is no feature, by its name.
        missing: The share of cells without a value, of the columns that are features.
    """

    numeric: tuple[str, ...]
    categories: tuple[str, ...]
    left_out: dict[str, str]
    missing: float

    @property
    def features(self) -> tuple[str, ...]:
        """All names."""
        return (*self.numeric, *self.categories)

    def __str__(self) -> str:
        kinds = [f"{len(self.numeric)} numeric"] if self.numeric else []
        if self.categories:
            kinds.append(f"{len(self.categories)} text one-hot")
        many = len(self.features) > 1
        told = f"{' + '.join(kinds)} {'columns' if many else 'column'}"
        if self.missing:
            told += f", {max(100 * self.missing, 0.1):.2g} % missing imputed"
        return told


def columns_of(frame: "pd.DataFrame") -> Columns:
    """Say what each column is; the target must not be among them."""
    numeric, categories, left_out, gaps = [], [], {}, []
    for name in frame.columns:
        numbers = as_numbers(frame[[name]])[name]
        texts = as_texts(frame[[name]])[name]
        given = texts.notna()
        different = texts[given].nunique()
        if name == INDEX and name == frame.columns[0]:
            left_out[name] = "names of rows"
        elif different == 0:
            left_out[name] = "empty"
        elif different == 1 and given.all():
            left_out[name] = "always the same"
        elif numbers.notna().sum() >= NUMBERS * given.sum():
            numeric.append(name)
            gaps.append(numbers.isna().mean())
        elif different > max(FEW, REPEATS * given.sum()):
            left_out[name] = plural(different, "different text", "different texts")
        else:
            categories.append(name)
            gaps.append(1 - given.mean())
    return Columns(
        numeric=tuple(numeric),
        categories=tuple(categories),
        left_out=left_out,
        missing=float(np.mean(gaps)) if gaps else 0.0,
    )


def preprocessing(columns: Columns, *, standardised: bool = True) -> ColumnTransformer:
    """Return what makes the features into numbers; it is fitted within each fold.

    Numbers: the median where one is missing, a further column that says where, then mean 0 and
    variance 1. Categories: a column each, what is rare in one, what is missing in one.

    Args:
        columns: What the features are.
        standardised: False leaves numbers in their units.
    """
    numbers = make_pipeline(
        FunctionTransformer(as_numbers, feature_names_out="one-to-one"),
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
        StandardScaler() if standardised else "passthrough",
    )
    texts = make_pipeline(
        FunctionTransformer(as_texts, feature_names_out="one-to-one"),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=FEW, sparse_output=False
        ),
    )
    parts = [("numbers", numbers, columns.numeric), ("texts", texts, columns.categories)]
    return ColumnTransformer([(name, how, list(which)) for name, how, which in parts if which])


def as_numbers(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the columns as float64, nan where there is no finite number."""
    import pandas as pd

    def one(column: "pd.Series") -> "pd.Series":
        if pd.api.types.is_datetime64_any_dtype(column):  # seconds since 1970
            days = column.astype("int64").astype("float64")
            return days.where(column.notna(), np.nan)
        found = pd.to_numeric(column.astype(object), errors="coerce").astype("float64")
        return found.where(np.isfinite(found), np.nan)

    return frame.apply(one)


def as_texts(frame: "pd.DataFrame") -> "pd.DataFrame":
    """Return the columns as texts, nan where there is none; blanks are no text."""
    texts = frame.astype(object)
    texts = texts.map(lambda value: str(value).strip(), na_action="ignore")
    return texts.where(texts.notna() & (texts != ""), np.nan).astype(object)
