"""The version, in a file that the build can read without importing the package."""

__all__ = ["__version__"]

__version__ = "0.5.0"
