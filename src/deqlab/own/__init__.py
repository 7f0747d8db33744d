"""Code of the user's, by the name of its module or registered by an installed package."""
