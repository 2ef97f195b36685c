"""Search for the best way to compress a trained Keras model."""

from importlib.metadata import version

__version__ = version("paretune")

__all__ = ["__version__"]
