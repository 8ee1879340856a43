"""The control plane of fnbox: everything that runs outside the function's container."""

__version__ = "0.1.0"
