"""Interfaces in notebooks: where they are connected, and how to begin."""

from __future__ import annotations

import html

from cottoncandy.core.output import html_table
from cottoncandy.stores.store import Store

__all__ = ["interface_html"]

_CAPABILITIES = {
    "acls": "ACLs",
    "owners": "owners",
    "trash": "trash",
    "conditional_put": "conditional uploads",
}
_FIRST_STEPS = (
    "cci.upload_raw_array('name', array)",
    "cci.download_raw_array('name')",
    "cci.ls('*')",
    "cci.get_browser()",
)


def interface_html(title: str, store: Store) -> str:
    """Return a table about a store, without secrets. No request is sent."""
    declared = store.backend.capabilities
    supported = [text for name, text in _CAPABILITIES.items() if getattr(declared, name, False)]
    rows = {
        "Store": store.describe(),
        "Supports": ", ".join(supported) or "objects and metadata",
    }
    if store.bucket is None:
        rows["Bucket"] = "none; choose one with cci.set_bucket('name')"
    if declared.acls:
        rows["Default ACL"] = store.settings.default_acl or "the server's"
    steps = "".join(f"<div><code>{html.escape(step)}</code></div>" for step in _FIRST_STEPS)
    return html_table(title, rows, f"To begin, with <code>cci</code> for this interface:{steps}")
