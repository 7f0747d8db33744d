"""What the columns of a table are, and how they become numbers.

A column is numeric if its values are numbers, or texts that nearly all say numbers; a column of
dates likewise, which become numbers of days. Other columns are categories, one number for each of
the most frequent; a column of texts that hardly repeat (names, addresses) tells a model of
categories nothing, and is left out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from deqlab.inputs.table.cells import as_days, as_numbers, as_texts, foreign, with_commas
from deqlab.tasks.files.tables.classes import listed, plural

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
        dates: Those of columns of dates.
        categories: Those of columns of categories.
        left_out: Why a column is no feature, by its name.
        missing: The share of cells without a value, of the columns that are features.
        commas: Columns of numbers, some of them with commas for thousands.
    """

    numeric: tuple[str, ...]
    dates: tuple[str, ...]
    categories: tuple[str, ...]
    left_out: dict[str, str]
    missing: float
    commas: tuple[str, ...] = ()

    @property
    def features(self) -> tuple[str, ...]:
        """All names."""
        return (*self.numeric, *self.dates, *self.categories)

    def __str__(self) -> str:
        kinds = [f"{len(self.numeric)} numeric"] if self.numeric else []
        if self.dates:
            kinds.append(f"{len(self.dates)} date (in days)")
        if self.categories:
            kinds.append(f"{len(self.categories)} text one-hot")
        many = len(self.features) > 1
        told = f"{' + '.join(kinds)} {'columns' if many else 'column'}"
        if self.missing:
            told += f", {max(100 * self.missing, 0.1):.2g} % missing imputed"
        if self.commas:
            told += f", commas of {listed(self.commas)} read as thousands"
        return told


def columns_of(frame: "pd.DataFrame") -> Columns:
    """Say what each column is; the target must not be among them."""
    numeric, dates, categories, left_out, gaps = [], [], [], {}, []
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
        elif (days := as_days(frame[[name]])[name]).notna().sum() >= NUMBERS * given.sum():
            dates.append(name)
            gaps.append(days.isna().mean())
        elif different > max(FEW, REPEATS * given.sum()):
            why = foreign(texts, NUMBERS)
            left_out[name] = why or plural(different, "different text", "different texts")
        else:
            categories.append(name)
            gaps.append(1 - given.mean())
    return Columns(
        numeric=tuple(numeric),
        dates=tuple(dates),
        categories=tuple(categories),
        left_out=left_out,
        missing=float(np.mean(gaps)) if gaps else 0.0,
        commas=tuple(with_commas(frame[numeric])),
    )


def preprocessing(columns: Columns, *, standardised: bool = True) -> ColumnTransformer:
    """Return what makes the features into numbers; it is fitted within each fold.

    Numbers and days: the median where one is missing, a further column that says where, then mean
    0 and variance 1. Categories: a column each, what is rare in one, what is missing in one.

    Args:
        columns: What the features are.
        standardised: False leaves numbers in their units.
    """

    def quantities(read: Callable[["pd.DataFrame"], "pd.DataFrame"]) -> Pipeline:
        return make_pipeline(
            FunctionTransformer(read, feature_names_out="one-to-one"),
            SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True),
            StandardScaler() if standardised else "passthrough",
        )

    texts = make_pipeline(
        FunctionTransformer(as_texts, feature_names_out="one-to-one"),
        OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=FEW, sparse_output=False
        ),
    )
    parts = [
        ("numbers", quantities(as_numbers), columns.numeric),
        ("dates", quantities(as_days), columns.dates),
        ("texts", texts, columns.categories),
    ]
    return ColumnTransformer([(name, how, list(which)) for name, how, which in parts if which])
