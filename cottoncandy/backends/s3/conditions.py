"""Whether a server honors the conditions of a put: found out once per endpoint."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING
from uuid import uuid4

from cottoncandy.backends.base import IfMatch, PutOptions
from cottoncandy.backends.s3.errors import S3Location, parse_error
from cottoncandy.exceptions import CottonCandyError

if TYPE_CHECKING:
    from cottoncandy.backends.s3.clients import Connection
    from cottoncandy.backends.s3.transport import Transport

__all__ = ["honors_conditions"]

logger = logging.getLogger(__name__)

# By endpoint, for all connections of this process.
_known: dict[str, bool] = {}


def honors_conditions(connection: Connection, transport: Transport, location: S3Location) -> bool:
    """Return whether a put with a condition is one atomic step.

    AWS is known to honor them. Another server is asked to store an empty object next to this one if
    its ETag is one that it cannot have. One that stores it ignores conditions.
    """
    if connection.on_aws:
        return True
    endpoint = connection.endpoint
    if endpoint not in _known:
        location = replace(location, key=f"{location.key}.cc-probe-{uuid4().hex}")
        try:
            transport.put(location, b"", PutOptions(condition=IfMatch("0" * 32)))
        except CottonCandyError as exc:
            status = parse_error(exc.__cause__ or exc).status
            if status not in (404, 412, 501):
                raise  # denied, or no connection: conditions may be supported
            _known[endpoint] = status != 501
        else:
            _known[endpoint] = False
            connection.client.delete_object(**location.request)
        if not _known[endpoint]:
            logger.warning(
                "not atomic here: %s ignores the conditions of uploads; with overwrite=False, "
                "if_match= and replacements of chunked arrays, another client may store an object "
                "between the check and the upload",
                location.endpoint,
            )
    return _known[endpoint]
