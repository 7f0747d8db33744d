"""Linear algebra row by row of a batch, in numpy on a CPU and in torch elsewhere.

`products` with a Jacobian need no matrix; `arnoldi`, `gmres` and `least_squares` are built on them.
`arrays` decides, in one place, what is numpy's and what is torch's.
"""
