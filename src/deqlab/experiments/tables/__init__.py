"""The comparison on a table of the user's, which `deqlab compare` asks for."""
