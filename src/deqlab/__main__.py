"""`python -m deqlab`: the command line."""

from deqlab.cli import main

main()
