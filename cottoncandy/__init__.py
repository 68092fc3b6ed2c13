"""cottoncandy: arrays and files in the cloud, straight from and to memory."""

from cottoncandy._version import __version__

__all__ = ["__version__"]
