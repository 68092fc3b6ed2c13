"""Many values in one test case: for cheap tests, where pytest's own work would take longest."""

from __future__ import annotations

import functools
import inspect
import random
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["CHARACTERS", "each"]

#: Characters of every kind, for texts of Hypothesis, which takes seconds to gather all there are.
CHARACTERS = "".join(
    [
        *map(chr, range(0x180)),
        *map(chr, random.Random(0).sample([*range(0x180, 0xD800), *range(0xE000, 0x110000)], 600)),
        *"\u200b\u2028\ufeff\ufffd\uffff日本語한글عربيİ\u0131\u017fẞΣς\u0301🙂",
    ]
)


def each(names: str, values: Iterable[Any]) -> Callable[..., Any]:
    """Run a test with one value after the other, as ``parametrize`` would, but in one case.

    A case of pytest costs 15 ms, collected, sent to a worker and reported. The values share the
    test's fixtures, so the test must not depend on what the previous value left there. A failure
    names its value.
    """
    parameters = [name.strip() for name in names.split(",")]
    rows = [tuple(value) if len(parameters) > 1 else (value,) for value in values]
    assert rows, "there is nothing to test"
    assert all(len(row) == len(parameters) for row in rows), parameters

    def decorate(test: Callable[..., None]) -> Callable[..., None]:
        @functools.wraps(test)
        def run(*arguments: Any, **fixtures: Any) -> None:
            for row in rows:
                given = dict(zip(parameters, row, strict=True))
                try:
                    test(*arguments, **fixtures, **given)
                except BaseException as error:
                    shown = ", ".join(f"{name}={value!r:.200}" for name, value in given.items())
                    error.add_note(f"in the case {shown}")
                    raise

        signature = inspect.signature(test)
        kept = [each for name, each in signature.parameters.items() if name not in parameters]
        assert len(kept) + len(parameters) == len(signature.parameters), f"no {parameters}"
        run.__signature__ = signature.replace(parameters=kept)  # type: ignore[attr-defined]
        return run

    return decorate
