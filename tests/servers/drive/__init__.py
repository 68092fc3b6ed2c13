"""A loopback server that speaks the part of the Drive v2 API that its Python client uses.

It is strict: a path, parameter, field or query that the API's own discovery document does not
have is answered with 400, so that a wrong call fails a test instead of being ignored.
"""

from tests.servers.drive.server import DriveServer, Fault, Recorded

__all__ = ["DriveServer", "Fault", "Recorded"]
