"""DEQs against the explicit networks that have their kernel."""
