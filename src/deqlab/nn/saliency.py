"""Grad-CAM, and numbers for how far a map is spread.

For a feature map A (channels, height, width) and the score y of a class that is read off it,

    map = relu(sum_k a_k A_k),    a_k = mean over pixels of dy/dA_k

The gradient goes through what follows A only: for a DEQ, A is the equilibrium, and no derivative
of the solve is needed. Source: Selvaraju et al. (2017), "Grad-CAM", eq. (1) and (2); by captum.

Of a map m with n pixels, p = m / sum(m):

    entropy = -sum(p log p) / log(n)          from 0 (one pixel) to 1 (all alike)
    area    = share of the pixels with m > max(m) / 2

and of a feature map A with N numbers the density is its participation ratio,
(sum |A|)^2 / (N sum A^2), from 1/N to 1.
"""

import math

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

ROWS = 100
"""How many images go through a network at a time."""


def grad_cam(
    model: nn.Sequential, x: Float[Tensor, "B C H W"], y: Int64[Tensor, " B"]
) -> Float[Tensor, "B h w"]:
    """Return the map of each image for the score of its class.

    Args:
        model: (features, readout); the feature map is what the features return.
        x: Images.
        y: The class of each.
    """
    from captum.attr import LayerGradCam

    cam = LayerGradCam(model, model[0])
    found = [
        cam.attribute(images, target=classes, relu_attributions=True).detach()[:, 0]
        for images, classes in zip(x.split(ROWS), y.split(ROWS), strict=True)
    ]
    return torch.cat(found)


def normalised_entropy(maps: Float[Tensor, "B h w"]) -> Float[Tensor, " B"]:
    """Return the entropy of each map over that of a constant one; nan for a map of zeros."""
    p = maps.double().flatten(1)
    p = p / p.sum(dim=1, keepdim=True)
    entropy: Tensor = -torch.special.xlogy(p, p).sum(dim=1)
    return entropy / math.log(p.shape[1])


def area_above_half(maps: Float[Tensor, "B h w"]) -> Float[Tensor, " B"]:
    """Return the share of pixels above half of the maximum; nan for a map of zeros."""
    flat = maps.double().flatten(1)
    most = flat.max(dim=1, keepdim=True).values
    above = (flat > most / 2).double().mean(dim=1)
    return torch.where(most[:, 0] > 0, above, torch.nan)


def density(features: Float[Tensor, "B C h w"]) -> Float[Tensor, " B"]:
    """Return the participation ratio of each feature map; nan for one of zeros."""
    flat = features.double().flatten(1).abs()
    return flat.sum(dim=1).square() / (flat.shape[1] * flat.square().sum(dim=1))
