"""What is read from disk: named data sets, their files, and files of the user's."""
