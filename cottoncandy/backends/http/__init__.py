"""Web servers: read-only, with the client that botocore is built on, urllib3."""
