"""Training of small DEQs and feed-forward networks on hard functions of one input."""
