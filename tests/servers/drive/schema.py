"""Arguments of the API, from the discovery document that its Python client ships."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any

from googleapiclient.discovery_cache import get_static_doc

from tests.servers.drive.errors import ApiError, invalid

RESOURCES = ("files", "about", "drives", "properties", "revisions")
BASE = "/drive/v2/"


@functools.cache
def discovery() -> dict[str, Any]:
    return json.loads(get_static_doc("drive", "v2"))  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Method:
    """One method of the API."""

    name: str
    verb: str
    pattern: re.Pattern[str]
    spec: dict[str, Any]


@functools.cache
def methods() -> list[Method]:
    found = []
    for resource in RESOURCES:
        for name, spec in discovery()["resources"][resource]["methods"].items():
            pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(spec["path"]))
            found.append(
                Method(f"{resource}.{name}", spec["httpMethod"], re.compile(pattern), spec)
            )
    # files/generateIds before files/{fileId}
    return sorted(found, key=lambda method: method.spec["path"].count("{"))


def route(verb: str, path: str) -> tuple[Method, dict[str, str]]:
    """Find the method that a path means."""
    for method in methods():
        match = method.pattern.fullmatch(path)
        if match and method.verb == verb:
            return method, match.groupdict()
    raise ApiError(400, "badRequest", f"the API has no {verb} {path}")


def check_parameters(method: Method, params: dict[str, str]) -> dict[str, Any]:
    """Return the query parameters as Python values; unknown or ill-typed ones are a 400."""
    known = {
        name: spec
        for name, spec in {**discovery()["parameters"], **method.spec["parameters"]}.items()
        if spec["location"] == "query"
    }
    typed: dict[str, Any] = {}
    for name, text in params.items():
        if name not in known:
            raise invalid(f"{method.name} has no parameter {name!r}")
        spec = known[name]
        if spec["type"] == "boolean":
            if text not in ("true", "false"):
                raise invalid(f"{name} is true or false, not {text!r}")
            typed[name] = text == "true"
        elif spec["type"] == "integer":
            value = int(text) if re.fullmatch(r"-?\d+", text) else None
            if value is None or not (
                int(spec.get("minimum", value)) <= value <= int(spec.get("maximum", value))
            ):
                raise invalid(f"{name} cannot be {text!r}")
            typed[name] = value
        else:
            if "enum" in spec and text not in spec["enum"]:
                raise invalid(f"{name} cannot be {text!r}")
            typed[name] = text
    return typed


def check_body(value: Any, schema: dict[str, Any], where: str = "body") -> None:
    """Refuse fields that the resource lacks, that only the server sets, or of wrong type."""
    if "$ref" in schema:
        schema = discovery()["schemas"][schema["$ref"]]
    kind = schema["type"]
    if kind == "object":
        if not isinstance(value, dict):
            raise invalid(f"{where} is an object")
        for name, inner in value.items():
            if name not in schema.get("properties", {}):
                raise invalid(f"{where} has no field {name!r}")
            spec = schema["properties"][name]
            if str(spec.get("description", "")).startswith("Output only") or spec.get("readOnly"):
                raise invalid(f"{where}.{name} is set by the server only")
            check_body(inner, spec, f"{where}.{name}")
    elif kind == "array":
        if not isinstance(value, list):
            raise invalid(f"{where} is a list")
        for inner in value:
            check_body(inner, schema["items"], where)
    elif not isinstance(value, {"string": str, "boolean": bool, "integer": int}.get(kind, object)):
        raise invalid(f"{where} is a {kind}")


def select(value: Any, mask: str, schema_name: str) -> Any:
    """Apply a ``fields`` mask; a name that the resource does not have is a 400."""
    tree, rest = _parse_mask(mask)
    if rest:
        raise invalid(f"Invalid field selection {mask}")
    return _apply(value, tree, {"$ref": schema_name}, mask)


def _parse_mask(text: str) -> tuple[dict[str, Any], str]:
    tree: dict[str, Any] = {}
    while True:
        match = re.match(r"([A-Za-z*][\w]*)((?:/[A-Za-z*]\w*)*)", text)
        if match is None:
            raise invalid(f"Invalid field selection {text}")
        text = text[match.end() :]
        node = tree.setdefault(match[1], {})
        for part in filter(None, match[2].split("/")):
            node = node.setdefault(part, {})
        if text.startswith("("):
            inner, text = _parse_mask(text[1:])
            if not text.startswith(")"):
                raise invalid(f"Invalid field selection {text}")
            node.update(inner)
            text = text[1:]
        if not text.startswith(","):
            return tree, text
        text = text[1:]


def _apply(value: Any, tree: dict[str, Any], schema: dict[str, Any], mask: str) -> Any:
    if "$ref" in schema:
        schema = discovery()["schemas"][schema["$ref"]]
    if schema["type"] == "array":
        if tree and not value:
            _apply({}, tree, schema["items"], mask)  # the names are checked all the same
        return [_apply(inner, tree, schema["items"], mask) for inner in value]
    known = schema.get("properties", {})
    for name in tree:
        if name != "*" and name not in known:
            raise invalid(f"Invalid field selection {name} of {mask}")
        if name != "*" and tree[name]:
            _apply({} if _is_object(known[name]) else [], tree[name], known[name], mask)
    if "*" in tree:
        return value
    return {
        name: _apply(value[name], inner, known[name], mask) if inner else value[name]
        for name, inner in tree.items()
        if name in value
    }


def _is_object(schema: dict[str, Any]) -> bool:
    return "$ref" in schema or schema["type"] == "object"
