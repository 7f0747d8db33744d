"""Convolution and group normalisation from their definitions, for other modules to be held to."""

import torch
from torch.nn.functional import unfold


def convolution(x, weight, *, stride=1):
    """The sum over a window around each pixel, zeros outside of the image."""
    outputs, _, size, _ = weight.shape
    columns = unfold(x, size, padding=size // 2, stride=stride)
    height, width = (-(-n // stride) for n in x.shape[2:])
    return (weight.flatten(1) @ columns).view(len(x), outputs, height, width)


def normalised(x, groups, eps=1e-5):
    """Mean 0 and variance 1 over each group of channels and all pixels of a sample."""
    grouped = x.reshape(len(x), groups, -1)
    centred = grouped - grouped.mean(dim=2, keepdim=True)
    deviation = (centred.square().mean(dim=2, keepdim=True) + eps).sqrt()
    return (centred / deviation).view_as(x)


def relu(x):
    return torch.where(x > 0, x, torch.zeros_like(x))
