"""Pages: what the vocabulary says of a field stands in every chart and table that names it."""

from dataclasses import asdict, replace

import pytest

from deqlab.experiments.page import Column, chart, column, default_page, known, table


def test_a_field_is_named_as_in_the_vocabulary_unless_a_page_says_otherwise():
    usual = column("test_loss")
    assert asdict(usual) == {
        "field": "test_loss",
        "label": "test loss",
        "format": "number",
        "better": "lower",
    }
    assert column("test_loss", "loss", better=None) == replace(usual, label="loss", better=None)
    assert column("no_such_field") == Column(
        field="no_such_field", label="no such field", format="number"
    )
    with pytest.raises(TypeError, match="unknown"):
        column("test_loss", unknown=1)


def test_axes_have_label_scale_and_format_of_their_fields():
    found = chart("point", "width", "test_accuracy", title="T", caption="C")
    assert (found.x_label, found.x_scale) == ("width", "log")
    assert (found.y_label, found.y_scale, found.y_format) == ("test accuracy", "linear", "percent")
    counts = chart("point", "k", "regions", title="T", caption="C", y_scale="linear")
    assert (counts.y_label, counts.y_scale, counts.y_format) == (
        "linear regions",
        "linear",
        "number",
    )


def test_the_best_value_is_marked_unless_a_table_has_none():
    fields = ("test_loss", column("norm", better="lower"))
    marked, unmarked = (
        table("summary", *fields, title="T", caption="C", mark_best=best) for best in (True, False)
    )
    assert [one.better for one in marked.columns] == ["lower", "lower"]
    assert [one.better for one in unmarked.columns] == [None, "lower"]


def test_the_default_page_has_a_chart_of_each_field_and_a_table_of_all():
    page = default_page("error", "test_loss", x="width")
    assert [(one.x, one.y) for one in page.charts] == [("width", "error"), ("width", "test_loss")]
    assert page.charts[1].title == "Test loss against width"
    (only,) = page.tables
    assert (only.by, [one.field for one in only.columns]) == ("width", ["error", "test_loss"])
    assert only.columns[0].label == known("error").label
