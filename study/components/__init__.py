"""The parts of the networks: one file a kind."""
