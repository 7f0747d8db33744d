"""What keeps a DEQ at its equilibrium while it trains: stabilisers compared on two cells."""
