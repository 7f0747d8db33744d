"""How large, and with what weights, a network must be: DEQs against feed-forward networks."""
