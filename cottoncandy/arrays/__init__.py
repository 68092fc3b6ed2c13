"""Arrays of several kinds in a store: raw, chunked and sparse ones, and trees of them.

``raw`` reads and writes raw arrays, ``versions`` opens an array of any kind, and ``handle`` is what
users get. ``manifests`` and ``generations`` replace a value of several objects in one instant;
``uploads``, ``copying`` and ``cleaning`` build on them.
"""
