"""Google Drive keeps the contract of all backends."""

from __future__ import annotations

from tests.backends.conformance import BackendConformance


class TestGDrive(BackendConformance):
    store_name = "gdrive"
    examples = 15
    histories = 2
