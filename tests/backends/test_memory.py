"""The memory backend is confined to its process."""

from __future__ import annotations

import pickle
import subprocess
import sys

from cottoncandy.backends.memory import MemoryBackend
from cottoncandy.core.buffers import Body

_ELSEWHERE = """
import pickle, sys
from cottoncandy.exceptions import UnsupportedOperationError
backend = pickle.load(sys.stdin.buffer)
calls = [
    lambda: backend.get("name"),
    lambda: list(backend.scan()),
    lambda: backend.has_bucket("stays"),
    lambda: backend.list_buckets(),
    lambda: backend.create_bucket("other"),
]
for call in calls:
    try:
        call()
    except UnsupportedOperationError as error:
        assert "another process" in str(error)
    else:
        raise SystemExit("it answered")
sys.stdout.buffer.write(pickle.dumps(backend))
"""


def test_use_elsewhere_is_refused_and_not_the_pickle() -> None:
    """A pickle that cannot be loaded ends a worker of dask, and its scheduler waits for ever."""
    backend = MemoryBackend("stays")
    backend.create_bucket("stays")
    backend.put("name", Body.of(b"here"))
    pickled = pickle.dumps(backend)
    for _ in range(2):  # a pickle from another process, too
        pickled = subprocess.run(
            [sys.executable, "-c", _ELSEWHERE], input=pickled, stdout=subprocess.PIPE, check=True
        ).stdout
    assert pickle.loads(pickled).get("name").read() == b"here"
