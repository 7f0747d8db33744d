"""Pictures that are made, and those that are bundled."""

import sys

import pytest
import torch

from deqlab.tasks.files.errors import DataError
from deqlab.tasks.pictures import coordinates, dead_leaves, photograph, photographs


def test_dead_leaves_are_grey_have_edges_and_hang_on_their_generator_alone():
    made = [dead_leaves(4, 16, generator=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert made[0].shape == (4, 1, 16, 16)
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    assert 0 <= made[0].min() < 0.2 < 0.8 < made[0].max() <= 1
    # Neighbours are mostly of one disc, and now and then of two.
    steps = made[0].diff(dim=-1).abs().flatten()
    assert steps.median() < 0.02 < 0.3 < steps.max()


def test_photographs_are_cut_into_tiles_without_overlap():
    pytest.importorskip("PIL")
    from sklearn.datasets import load_sample_images

    tiles = photographs(100)
    assert tiles.shape == (2 * 4 * 6, 1, 100, 100)
    china = torch.tensor(load_sample_images().images[0]).float().mean(dim=2) / 255
    torch.testing.assert_close(tiles[7, 0], china[100:200, 100:200])


def test_a_photograph_is_its_middle_square_averaged_down():
    pytest.importorskip("PIL")
    from sklearn.datasets import load_sample_images

    flower = torch.tensor(load_sample_images().images[1]).float().mean(dim=2) / 255
    square = flower[:, 106 : 106 + 427]
    assert torch.equal(photograph("flower", 427), square)
    torch.testing.assert_close(photograph("flower", 1), square.mean().view(1, 1))
    # 427 = 7 x 61.
    blocks = square.reshape(61, 7, 61, 7).mean(dim=(1, 3))
    torch.testing.assert_close(photograph("flower", 61), blocks)


def test_coordinates_are_the_middles_of_pixels_down_and_to_the_right():
    assert coordinates(2, 4)[..., 0].tolist() == [[-0.5] * 4, [0.5] * 4]
    assert coordinates(2, 4)[..., 1].tolist() == [[-0.75, -0.25, 0.25, 0.75]] * 2


def test_a_photograph_that_is_not_there_is_named(monkeypatch):
    with pytest.raises(ValueError, match="there is no photograph 'cat', choose among"):
        photograph("cat", 8)
    monkeypatch.setitem(sys.modules, "skimage.data", None)  # as where it is not installed
    with pytest.raises(DataError, match="scikit-image, which is not installed: pip install"):
        photograph("camera", 8)


def test_sizes_outside_of_their_domain_are_refused():
    with pytest.raises(ValueError, match="size must be 8 or more, so that discs have sizes, got 4"):
        dead_leaves(1, 4, generator=torch.Generator())
    pytest.importorskip("PIL")
    with pytest.raises(ValueError, match="427 x 640 pixels, and so size must be at most 427"):
        photographs(500)
    with pytest.raises(ValueError, match="427 x 640 pixels, and so size must be at most 427"):
        photograph("china", 428)
