"""One picture as a function of coordinates."""
