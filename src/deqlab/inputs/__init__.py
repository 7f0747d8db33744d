"""What networks and kernels are compared on: mixtures, data sets, features of photos, files."""
