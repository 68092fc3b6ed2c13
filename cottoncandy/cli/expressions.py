"""Expressions that generate prefixes: ``[ab]`` is ``a`` or ``b``, ``[ab]{2}`` all pairs of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

from cottoncandy.exceptions import InvalidArgumentError

__all__ = ["expand"]

_LIMIT = 100_000
_SET = re.compile(r"\[(?P<characters>[^\[\]]+)\](?:\{(?P<count>\d+)\})?")


def expand(text: str) -> Iterator[str]:
    """Yield the texts that an expression stands for, in order.

    Raises
    ------
    InvalidArgumentError
        If there are more than 100,000, or a bracket is not closed.

    Examples
    --------
    >>> list(expand("s3://bucket/[ab]"))
    ['s3://bucket/a', 's3://bucket/b']
    """
    choices: list[str | list[str]] = []
    total, position = 1, 0
    for found in _SET.finditer(text):
        choices.append([text[position : found.start()]])
        count = int(found["count"] or 1)
        characters = sorted(set(found["characters"]))
        total *= len(characters) ** count
        if total > _LIMIT:
            raise InvalidArgumentError(f"{text!r} stands for more than {_LIMIT} prefixes")
        choices.extend([characters] * count)
        position = found.end()
    rest = text[position:]
    if set("[]{}") & set(rest + "".join(choice[0] for choice in choices if len(choice) == 1)):
        raise InvalidArgumentError(f"{text!r} has a bracket without its counterpart")
    return map("".join, product(*choices, [rest]))
