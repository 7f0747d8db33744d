"""Recipes that reason step by step: `sudoku`, `prefix-sums` and `mazes`."""
