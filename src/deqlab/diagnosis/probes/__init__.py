"""Probes: each measures one thing of a map, and says nothing about what it means."""
