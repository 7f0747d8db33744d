"""One file a data set, or a family of data sets in one format."""
