"""What the one loop of all methods is made of; the loop itself is `Solver.run`."""
