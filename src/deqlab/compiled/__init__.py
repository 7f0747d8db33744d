"""`fixed_point` inside torch.compile: the whole solve as one operator of the graph.

The loop is torch's `while_loop`. Its body is a pure function of tensors: one step, one evaluation
of f, and the verdicts of `solvers.loop`, row by row. What cannot be compiled is refused in a
sentence; docs/compile.md lists it.
"""

from deqlab.compiled.solve import fixed_point

__all__ = ["fixed_point"]
