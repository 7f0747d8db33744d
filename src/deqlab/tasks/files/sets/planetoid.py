"""Cora and Citeseer: papers, their words and citations, with the public split.

A node is a paper, its features are the words that occur, an edge is a citation in either direction.
The public split trains on 20 papers a class, validates on 500 and tests on 1,000. Of Citeseer 15
papers have no class (-1) and are in no part; 48 have no edge. Source: Sen et al. (2008),
"Collective classification in network data"; Yang, Cohen & Salakhutdinov (2016), "Revisiting
semi-supervised learning with graph embeddings", for the split.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deqlab.tasks.files.dataset import Dataset
from deqlab.tasks.files.npz import NpzArray, NpzFile


@dataclass(frozen=True, kw_only=True, eq=False)
class GraphData:
    """One graph whose nodes are to be classified.

    Attributes:
        name: The name of the data set.
        x: Features, each row of sum 1 or 0.
        y: Classes; -1 where there is none.
        edges: Sources and targets; an edge of no direction stands there twice.
        num_classes: Classes.
        train: The nodes that are trained on.
        validation: Those that settings are chosen by.
        test: Those that are tested on.
    """

    name: str
    x: Float[Tensor, "N n"]
    y: Int64[Tensor, " N"]
    edges: Int64[Tensor, "2 E"]
    num_classes: int
    train: Bool[Tensor, " N"]
    validation: Bool[Tensor, " N"]
    test: Bool[Tensor, " N"]


def _make(dataset: Dataset[GraphData], arrays: tuple[np.ndarray, ...]) -> GraphData:
    values, columns, starts, y, edges, train, validation, test = arrays
    x = torch.zeros(len(y), *dataset.shape)
    rows = np.repeat(np.arange(len(y)), np.diff(starts))
    x[rows, columns.astype(np.int64)] = torch.from_numpy(values)
    assert dataset.num_classes is not None
    return GraphData(
        name=dataset.name,
        x=x / x.sum(dim=1, keepdim=True).clamp_min(1),
        y=torch.from_numpy(y.astype(np.int64)),
        edges=torch.from_numpy(edges.astype(np.int64)),
        num_classes=dataset.num_classes,
        train=torch.from_numpy(train),
        validation=torch.from_numpy(validation),
        test=torch.from_numpy(test),
    )


def _file(name: str, nodes: int, words: int, edges: int, checksums: tuple[str, ...]) -> NpzFile:
    kinds = (
        ("x_data", (words,), "float32"),
        ("x_indices", (words,), "int32"),
        ("x_indptr", (nodes + 1,), "int32"),
        ("y", (nodes,), "int16"),
        ("edge_index", (2, edges), "int32"),
        ("train", (nodes,), "bool"),
        ("val", (nodes,), "bool"),
        ("test", (nodes,), "bool"),
    )
    arrays = tuple(
        NpzArray(key=key, shape=shape, dtype=dtype, sha256=checksum)
        for (key, shape, dtype), checksum in zip(kinds, checksums, strict=True)
    )
    return NpzFile(name=f"{name}.npz", arrays=arrays)


CORA = Dataset(
    name="cora",
    kind=GraphData,
    splits={"train": 140, "validation": 500, "test": 1000},
    shape=(1433,),
    num_classes=7,
    source="Sen et al. (2008), Collective classification in network data; split of Yang (2016)",
    licence="MIT",
    shared_folder="planetoid",
    files=(
        _file(
            "cora",
            2708,
            49216,
            10556,
            (
                "b6b21f88e97b941a18346653f17d13084c3e07e19e3a7f7b101cebff366e5eb9",
                "e927312de3e1a5175c8ba21df70bbed22073bee54aa47725312ffb695e9ca83f",
                "b62808e7a686a808d671be25edbe692b4adeb9b95c8684351d84fd9e12f7919a",
                "3ce78dbef75d7c6354274c39b60604ba9cfc59430e05cfcf965c24f1d1ec4ba9",
                "724254bf4ed0fc905b0a27cdf6cc42373465372c9aa277de5625bff0b4c57c7b",
                "b211325c561d6f73f978a4b0f3d44571c58eb70ca55a2aa27b9d4988344476c1",
                "96c8f5dc197fc3c014b3d655f1c28d0d276221e867ca01d64f74edb39cfb7173",
                "ec05c123cc125ff38ad3963cba5d85415a2e7b125dc68064bbf65fb0661644e6",
            ),
        ),
    ),
    make=_make,
)

CITESEER = Dataset(
    name="citeseer",
    kind=GraphData,
    splits={"train": 120, "validation": 500, "test": 1000},
    shape=(3703,),
    num_classes=6,
    source="Sen et al. (2008), Collective classification in network data; split of Yang (2016)",
    licence="MIT",
    shared_folder="planetoid",
    files=(
        _file(
            "citeseer",
            3327,
            105165,
            9104,
            (
                "87679e6ef9e1f917a26e01caaff206b1083be17db182caa97bc02b81d3be5ce6",
                "ff98c0b675a82ab2c6aa4aa1044891dc2e7262a4e55b7debb1708c0442c1a127",
                "8ed82a019c207b0296f9c935bd5effcfaa650523f274b7b66b2411adf3dad67f",
                "07cb7418a72b3b49c493826a1f585bf2b946b99444f5ad62d2522221df34f571",
                "ac01cf6f7b3fd88c3245191cc13b962d5173da7b78a3487b7aaa3cc290d11900",
                "8efce52f9800be63f1ac0858b52958bbdde930d20ce5a0b4e5431c13a7d16eab",
                "b11b25e3892ac2656e35555f2ea1ddcbccba18f2f1233baffbfdaacf3a7fda63",
                "e5f2dd697aa940453faf3ca12682f7ddb7da9a7b011e141672be2b230889b30a",
            ),
        ),
    ),
    make=_make,
)
