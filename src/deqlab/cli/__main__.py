"""`python -m deqlab.cli`."""

from deqlab.cli import main

main()
