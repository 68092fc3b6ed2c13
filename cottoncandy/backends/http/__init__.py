"""Web servers: read-only, with the client that botocore is built on, urllib3."""

from cottoncandy.backends.http.backend import HTTPBackend

__all__ = ["HTTPBackend"]
