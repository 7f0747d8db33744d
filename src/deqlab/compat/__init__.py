"""Entrances for models that were written for other libraries; one package each."""
