"""study: ablation and benchmarking of PyTorch video networks."""

__version__ = "0.1.0"
