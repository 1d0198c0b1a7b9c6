"""Published video networks, as backbones and baselines."""
