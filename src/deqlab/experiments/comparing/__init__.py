"""Arms at equal cost: what they are, how they train, what they cost, and who wins."""
