"""One optimizer step, as it is or recorded as a graph, and the time that its parts take."""
