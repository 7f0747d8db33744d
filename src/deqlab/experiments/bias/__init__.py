"""What gradient descent prefers: the diagonal linear DEQ in closed form, and features measured."""
