"""Google Drive: keys are paths, folders are made as needed, metadata are file properties."""

from cottoncandy.backends.gdrive._backend import GDriveBackend

__all__ = ["GDriveBackend"]
