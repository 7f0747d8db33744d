"""From a ramp of slope 1 / delta to one of 2 / delta: the network of f(2 x) from that of f(x).

Layer by layer of a feed-forward network of L hidden layers, with c = 2^(1 / (L + 1)),

    W_l -> c W_l,    b_l -> (c^l / 2) b_l  for l <= L,    b_(L+1) kept:

signals of layer l become c^l / 2 times what they were at 2 x. No matrix grows by more than any
network's must, at its depth; see `expressivity.bounds`. In a DEQ with loops z becomes 2 z:

    A_ij -> A_ij / 2,    1 - A_ii -> (1 - A_ii) / 2,    b -> b / 2,    U, v and c kept,

so that no weight grows but a skip, which doubles. The recipe encodes what the target is:
g_(delta / 2)(x) = g_delta(2 x). Derived.
"""

from deqlab.expressivity.search.network import Network

LEAST = 2.0**-52
"""Of 1 - w: the loop that is next to 1 stays below it."""


def steepened(network: Network) -> Network:
    """Return the network whose output at x is that of `network` at 2 x.

    Raises:
        ValueError: It is a DEQ without loops.
    """
    if not network.wiring.dense:
        return _steeper_layers(network)
    if not network.wiring.loops:
        raise ValueError("a DEQ needs loops to be steepened")
    n, a = network.wiring.num_neurons, network.matrix.clone()
    short = (1 - a[:n].diagonal()) / 2
    a[:n, :n] /= 2
    a[range(n), range(n)] = 1 - short.clamp_min(LEAST)
    a[:n, -1] /= 2
    a[-1, n] *= 2
    return Network(network.wiring, a)


def _steeper_layers(network: Network) -> Network:
    a, bounds = network.matrix.clone(), network.wiring.bounds
    factor = 2 ** (1 / (len(bounds) + 1))
    a[:, :-1] *= factor
    for layer, (start, end) in enumerate(bounds, start=1):
        a[start:end, -1] *= factor**layer / 2
    return Network(network.wiring, a)
