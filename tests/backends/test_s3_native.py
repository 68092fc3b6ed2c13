"""obstore in forked processes."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import obstore
import pytest

from cottoncandy.backends.s3 import native
from cottoncandy.backends.s3.backend import S3Backend
from cottoncandy.core.buffers import Body
from cottoncandy.exceptions import ObjectNotFoundError
from tests.backends._s3 import S3Tests
from tests.processes import exit_code, fork
from tests.servers.proxy import FaultProxy

pytestmark = [
    pytest.mark.server,
    pytest.mark.skipif(sys.platform != "linux", reason="copies of a library need Linux"),
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
]


def in_child(work: Callable[[], object]) -> None:
    """Run a function in a forked process."""
    assert exit_code(fork(work)) == 0


class TestFork(S3Tests):
    def clients(self, proxy: FaultProxy) -> set[str]:
        agents = [request.headers["user-agent"] for request in proxy.select(path="name")]
        return {"botocore" if "Botocore" in agent else "obstore" for agent in agents}

    def test_children_and_their_children_use_obstore(
        self, backend: S3Backend, fault_proxy: FaultProxy
    ) -> None:
        def work() -> None:
            backend.put("name", Body.of(b"child"))
            assert backend.get("name").read() == b"child"
            with pytest.raises(ObjectNotFoundError):
                backend.get("missing name")

        backend.put("name", Body.of(b"parent"))
        in_child(work)
        in_child(lambda: (work(), in_child(lambda: (work(), in_child(work)))))
        assert backend.get("name").read() == b"child"
        assert self.clients(fault_proxy) == {"obstore"}

    def test_child_without_a_copy_uses_botocore(
        self, backend: S3Backend, fault_proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The system may forbid to load code from memory."""

        def forbidden(*_: object) -> int:
            raise PermissionError(1, "not permitted")

        monkeypatch.setattr(os, "memfd_create", forbidden)
        in_child(lambda: backend.put("name", Body.of(b"child")))
        assert backend.get("name").read() == b"child"
        assert self.clients(fault_proxy) == {"botocore", "obstore"}


def test_copy_leaves_the_modules_of_others() -> None:
    before = {name: module for name, module in sys.modules.items() if "obstore" in name}
    copy = native._copy()
    assert copy.store.S3Store is not obstore.store.S3Store
    assert {name: module for name, module in sys.modules.items() if "obstore" in name} == before
    assert obstore.exceptions.PreconditionError is not copy.exceptions.PreconditionError
