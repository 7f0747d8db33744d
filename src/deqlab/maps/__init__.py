"""f as one fixed map on (B, D) matrices, whatever the caller wrote; see `flat_map`.

`reachable` finds what f can reach; `buffers`, `held`, `watch` and `random_numbers` keep that still
during a solve; `narrowing` restricts f to some rows; `matrix_map` has the types.
"""
