"""Grids of small pictures: every number on disk becomes one square of the right place."""

import base64
import io
import re

import matplotlib
import numpy as np
import pytest

from deqlab.report import ReportError, render

IMAGES = {
    "kind": "images",
    "title": "Maps",
    "caption": "Bright is much.",
    "rows": "image",
    "line": "name",
    "column": "of",
}
HEAT = [[0.0, 0.25, 1.0], [0.5, 0.75, 0.125]]
COLOUR = [[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 1]]]


def image(name, of, pixels, *, arm="deq", seed=0):
    return {"arm": arm, "seed": seed, "kind": "image", "name": name, "of": of, "pixels": pixels}


def page(write_run, example, images, spec=IMAGES):
    """Images come before the summaries, which end the jobs."""
    config = example.config(charts=[spec], tables=[])
    return render([write_run(rows=[*images, *example.rows()], config=config)])


def drawn(html):
    """The pictures of a page, as arrays, with their place (left, top)."""
    from PIL import Image

    found = []
    for tag in re.findall(r"<image[^>]*>", html):
        data = base64.b64decode(re.search(r'href="data:image/png;base64,([^"]*)"', tag)[1])
        matrix = re.search(r"matrix\(([^)]*)\)", tag)[1].split()
        place = [float(value) for value in matrix[4:]]
        found.append((place, np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))))
    return found


def test_every_number_becomes_one_square_in_the_colour_of_its_size(write_run, example):
    html = page(write_run, example, [image("a", "map", HEAT)])
    ((_, pixels),) = drawn(html)
    expected = matplotlib.colormaps["magma"](np.array(HEAT), bytes=True)[..., :3]
    assert pixels.tolist() == expected.tolist()
    assert "pixelated" in html


def test_pictures_may_be_grey_and_larger(write_run, example):
    spec = {**IMAGES, "size": 100, "colours": "grey"}
    rows = [image("a", of, HEAT) for of in ("one", "other")]
    (left, pixels), (right, _) = drawn(page(write_run, example, rows, spec))
    expected = [[0, 64, 255], [128, 191, 32]]
    assert np.abs(pixels.astype(int) - np.array(expected)[..., None]).max() <= 1
    assert right[0] - left[0] == pytest.approx(106)


@pytest.mark.parametrize("wrong", [{"size": 0}, {"colours": "blue"}, {"colours": []}])
def test_a_size_or_colours_that_are_none_are_refused(write_run, example, wrong):
    with pytest.raises(ReportError, match="needs a 'size' of 1 or more, and 'colours' among"):
        page(write_run, example, [image("a", "map", HEAT)], IMAGES | wrong)


def test_colours_are_the_colours_on_disk(write_run, example):
    ((_, pixels),) = drawn(page(write_run, example, [image("a", "photo", COLOUR)]))
    assert pixels.tolist() == (255 * np.array(COLOUR)).tolist()


def test_lines_go_down_and_columns_to_the_right_in_the_order_on_disk(write_run, example, parse):
    # The first pixel of each picture tells which it is.
    rows = [
        image(name, of, [[(4 * i + j) / 16, 1.0]])
        for i, name in enumerate(("second", "first"))
        for j, of in enumerate(("photo", "map"))
        if (i, j) != (1, 0)
    ]
    html = page(write_run, example, rows)
    places = {tuple(pixels[0, 0]): place for place, pixels in drawn(html)}
    colours = matplotlib.colormaps["magma"](np.array([0, 1, 5]) / 16, bytes=True)[:, :3]
    top_left, top_right, below = (places[tuple(colour)] for colour in colours)
    assert len(places) == 3
    assert top_left[1] == top_right[1] < below[1]
    assert top_left[0] < top_right[0] == below[0]
    table = next(t for t in parse(html).tables if t[0] == ["picture", "photo", "map"])
    nbsp = "1 \N{MULTIPLICATION SIGN} 2"
    assert table[1] == ["second", f"0.500|{nbsp}", f"0.531|{nbsp}"]
    assert table[2] == ["first", "", f"0.656|{nbsp}"]


def test_of_each_place_the_first_on_disk_is_shown(write_run, example):
    rows = [
        image("a", "map", [[0.0]]),
        image("a", "map", [[1.0]]),
        image("a", "map", [[0.5]], seed=1),
        image("b", "map", [[1.0]], arm="fnn"),
    ]
    found = sorted(int(pixels.sum()) for _, pixels in drawn(page(write_run, example, rows)))
    ends = matplotlib.colormaps["magma"](np.array([0.0, 1.0]), bytes=True)[:, :3]
    assert found == [int(end.astype(int).sum()) for end in ends]


def test_pictures_are_named_described_and_load_nothing(write_run, example, parse):
    html = page(write_run, example, [image("horse 1", "map", HEAT), image("dog 1", "map", HEAT)])
    found = parse(html)
    assert ("title", "Maps") in found.texts
    assert ("title", "horse 1: map") in found.texts
    assert ("desc", "2 pictures. Columns: map. Lines: horse 1, dog 1.") in found.texts
    assert "Bright is much." in found.text
    assert all(v.startswith(("data:image/png;base64,", "#")) for v in found.attributes("href"))
    ids = found.attributes("id")
    assert len(ids) == len(set(ids))


def test_the_same_files_give_the_same_bytes(write_run, example):
    config = example.config(charts=[IMAGES], tables=[])
    path = write_run(rows=[image("a", "map", HEAT), *example.rows()], config=config)
    assert render([path]) == render([path])


def test_text_is_escaped_and_printable(write_run, example, parse):
    evil = "<script>$x_1$ & \x07</script>"
    html = page(write_run, example, [image(evil, evil, HEAT)], {**IMAGES, "title": evil})
    assert "<script" not in html
    parse(html)


def test_a_grid_without_pictures_says_so(write_run, example, parse):
    assert "Nothing to draw" in parse(page(write_run, example, [])).text


@pytest.mark.parametrize(
    "pixels",
    [
        None,
        [],
        [[]],
        0.5,
        [0.5, 0.5],
        [[0.5], [0.5, 0.5]],
        [[1.5]],
        [[-0.1]],
        [[None]],
        [["0.5"]],
        [[True]],
        [[[0.1, 0.2]]],
        [[[[0.1, 0.2, 0.3]]]],
    ],
)
def test_what_is_no_picture_is_refused(write_run, example, pixels):
    with pytest.raises(ReportError, match=r"chart 'Maps', picture .*from 0 to 1 in lists of one"):
        page(write_run, example, [image("a", "map", pixels)])


@pytest.mark.parametrize("name", ["title", "rows", "line", "column"])
def test_an_incomplete_declaration_is_refused(write_run, example, name):
    spec = {key: value for key, value in IMAGES.items() if key != name}
    with pytest.raises(ReportError, match=f"needs a text '{name}'; correct config.json"):
        page(write_run, example, [], spec)
