"""S3 servers and a fault proxy for the tests: real programs on loopback, started on demand."""

from tests.servers.base import S3Server, ServerError

__all__ = ["S3Server", "ServerError"]
