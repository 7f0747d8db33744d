"""A zero-padded convolution as the matrix that it is, and its exact norm."""

import torch
from torch.nn.functional import conv2d


def matrix_of(filters, size, *, groups=1, stride=1):
    """The matrix whose columns are the images of the unit images, transposed; float64."""
    filters, n = filters.detach().double(), filters.shape[1] * groups
    units = torch.eye(n * size[0] * size[1], dtype=torch.float64).view(-1, n, *size)
    images = conv2d(units, filters, padding=filters.shape[-1] // 2, groups=groups, stride=stride)
    return images.flatten(1)


def exact_norm(filters, size, **options):
    return float(torch.linalg.matrix_norm(matrix_of(filters, size, **options), ord=2))
