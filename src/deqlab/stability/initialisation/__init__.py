"""The spectrum of the Jacobian before training: predicted for wide layers, and drawn."""

from deqlab.stability.initialisation.laws import Drawn, draw, drawn_spectrum
from deqlab.stability.initialisation.prediction import Prediction, critical_gain, initial_spectrum

__all__ = [
    "Drawn",
    "Prediction",
    "critical_gain",
    "draw",
    "drawn_spectrum",
    "initial_spectrum",
]
