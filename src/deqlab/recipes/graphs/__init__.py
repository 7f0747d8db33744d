"""Recipes for the nodes of graphs."""
