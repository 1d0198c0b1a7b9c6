"""What networks cost: parameters, operations by two counters, activations and, on request, time."""
