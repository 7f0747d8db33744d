"""A table of the user's: read, understood column by column, and made into numbers within folds."""
