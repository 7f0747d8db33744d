"""The network of f(2 x) from that of f(x), with weights that grow as little as they can.

Layer by layer of a feed-forward network of L hidden layers, with c = 2^(1 / (L + 1)),

    W_l -> c W_l,    b_l -> (c^l / 2) b_l  for l <= L,    b_(L+1) kept:

signals of layer l become c^l / 2 times what they were at 2 x. No matrix grows by more than that of
any network must, at its depth; see `expressivity.bounds`. In a DEQ with loops z becomes 2 z:

    A_ij -> A_ij / 2,    1 - A_ii -> (1 - A_ii) / 2,    b -> b / 2,    U, v and c kept,

so that no weight grows but loops towards 1 and a skip, which doubles. On ramps the network of one
becomes that of the next, as g_(delta / 2)(x) = g_delta(2 x): a search that begins its stages so
knows what the target is. Derived.
"""

from deqlab.expressivity.search.network import Network

LEAST = 2.0**-52
"""The least 1 - w that is left: the loop w that is next to 1 stays below it."""


def rescale_input(network: Network) -> Network:
    """Return the network whose output at x is that of `network` at 2 x.

    Raises:
        ValueError: The network is a DEQ without loops.

    Example:
        >>> import torch
        >>> from deqlab.expressivity import steep_ramp
        >>> from deqlab.expressivity.search import evaluate, from_deq
        >>> steeper = rescale_input(from_deq(steep_ramp(0.5)))
        >>> evaluate(steeper, torch.tensor([0.125, 0.25], dtype=torch.float64)).tolist()
        [0.5, 1.0]
    """
    if not network.architecture.dense:
        return _rescale_layers(network)
    if not network.architecture.loops:
        raise ValueError("the input of a DEQ is rescaled by its loops: it needs loops=True")
    n, a = network.architecture.num_neurons, network.matrix.clone()
    gap = (1 - a[:n].diagonal()) / 2
    a[:n, :n] /= 2
    a[range(n), range(n)] = 1 - gap.clamp_min(LEAST)
    a[:n, -1] /= 2
    a[-1, n] *= 2
    return Network(network.architecture, a)


def _rescale_layers(network: Network) -> Network:
    a, bounds = network.matrix.clone(), network.architecture.bounds
    factor = 2 ** (1 / (len(bounds) + 1))
    a[:, :-1] *= factor
    for layer, (start, end) in enumerate(bounds, start=1):
        a[start:end, -1] *= factor**layer / 2
    return Network(network.architecture, a)
