"""What the measurements mean, in sentences."""
