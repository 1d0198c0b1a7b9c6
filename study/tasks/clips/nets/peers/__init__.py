"""Published networks for dynamic facial expression recognition, to compare IFDD with."""
