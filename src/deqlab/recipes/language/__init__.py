"""Recipes that learn to continue texts: `language` and `hybrid-language`."""
