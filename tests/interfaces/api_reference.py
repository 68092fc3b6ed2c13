"""The public API as documented: classes, methods, parameters, defaults.

``KEYWORDS`` marks a ``**kwargs``. Bases are those that the documents name. Documented signatures do
not change; new parameters follow, by keyword only.
"""

from __future__ import annotations

from typing import Any

ACL = "authenticated-read"
EXTRA_ARGS = {"ACL": ACL}


class _Required:
    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Any = _Required()
KEYWORDS = "**"
VARARGS = "*"

BASES = {
    "BasicInterface": ["InterfaceObject"],
    "ArrayInterface": ["BasicInterface"],
    "FileSystemInterface": ["BasicInterface"],
    "DefaultInterface": ["FileSystemInterface", "ArrayInterface", "BasicInterface"],
}

CONSTRUCTOR = {
    "bucket_name": REQUIRED,
    "ACCESS_KEY": REQUIRED,
    "SECRET_KEY": REQUIRED,
    "url": None,
    "force_bucket_creation": False,
    "verbose": True,
    "backend": "s3",
    KEYWORDS: "kwargs",
}

API: dict[str, dict[str, dict[str, Any]]] = {
    "ArrayInterface": {
        "cloud2dataset": {"object_root": REQUIRED, KEYWORDS: "metadata"},
        "cloud2dict": {
            "object_root": REQUIRED,
            "verbose": True,
            "keys": None,
            "threads": 4,
            KEYWORDS: "metadata",
        },
        "dict2cloud": {
            "object_name": REQUIRED,
            "array_dict": REQUIRED,
            "acl": ACL,
            "verbose": True,
            "threads": 4,
            KEYWORDS: "metadata",
        },
        "download_dask_array": {"object_name": REQUIRED, "dask_name": "array", "threads": 4},
        "download_npy_array": {"object_name": REQUIRED, "threads": 4},
        "download_raw_array": {
            "object_name": REQUIRED,
            "buffersize": 65536,
            "threads": 4,
            KEYWORDS: "kwargs",
        },
        "download_sparse_array": {"object_name": REQUIRED, "threads": 4},
        "upload_dask_array": {
            "object_name": REQUIRED,
            "arr": REQUIRED,
            "axis": -1,
            "buffersize": 104857600,
            "threads": 4,
            KEYWORDS: "metakwargs",
        },
        "upload_npy_array": {
            "object_name": REQUIRED,
            "array": REQUIRED,
            "acl": ACL,
            "threads": 4,
            KEYWORDS: "metadata",
        },
        "upload_raw_array": {
            "object_name": REQUIRED,
            "array": REQUIRED,
            "compression": True,
            "acl": ACL,
            "threads": 4,
            KEYWORDS: "metadata",
        },
        "upload_sparse_array": {"object_name": REQUIRED, "arr": REQUIRED, "threads": 4},
    },
    "BasicInterface": {
        "create_bucket": {"bucket_name": REQUIRED, "acl": ACL},
        "download_json": {"object_name": REQUIRED, "threads": 1},
        "download_object": {"object_name": REQUIRED, "threads": 4},
        "download_pickle": {"object_name": REQUIRED, "threads": 4},
        "download_stream": {"object_name": REQUIRED, "threads": 4},
        "download_to_file": {"object_name": REQUIRED, "file_name": REQUIRED, "threads": 4},
        "exists_bucket": {"bucket_name": REQUIRED},
        "exists_object": {"object_name": REQUIRED, "bucket_name": None, "raise_err": False},
        "get_bucket": {},
        "get_bucket_objects": {KEYWORDS: "kwargs"},
        "get_bucket_size": {"limit": 1000000, "page_size": 1000000},
        "get_object": {"object_name": REQUIRED, "bucket_name": None},
        "get_objects": {KEYWORDS: "kwargs"},
        "get_size": {},
        "pathjoin": {"a": REQUIRED, VARARGS: "p"},
        "rm_bucket": {"bucket_name": REQUIRED},
        "set_bucket": {"bucket_name": REQUIRED},
        "show_buckets": {},
        "show_objects": {"limit": 1000, "page_size": 1000},
        "upload_from_directory": {
            "disk_path": REQUIRED,
            "cloud_path": None,
            "recursive": False,
            "ExtraArgs": EXTRA_ARGS,
            "threads": 4,
        },
        "upload_from_file": {
            "flname": REQUIRED,
            "object_name": None,
            "ExtraArgs": EXTRA_ARGS,
            "threads": 4,
        },
        "upload_json": {
            "object_name": REQUIRED,
            "ddict": REQUIRED,
            "acl": ACL,
            "threads": 1,
            KEYWORDS: "metadata",
        },
        "upload_object": {
            "object_name": REQUIRED,
            "body": REQUIRED,
            "acl": ACL,
            "threads": 4,
            KEYWORDS: "metadata",
        },
        "upload_pickle": {
            "object_name": REQUIRED,
            "data_object": REQUIRED,
            "acl": ACL,
            "threads": 4,
            KEYWORDS: "metadata",
        },
    },
    "FileSystemInterface": {
        "cp": {
            "source_name": REQUIRED,
            "dest_name": REQUIRED,
            "source_bucket": None,
            "dest_bucket": None,
            "overwrite": False,
        },
        "download_directory": {"directory": REQUIRED, "disk_name": REQUIRED},
        "get_browser": {},
        "get_object_owner": {"object_name": REQUIRED},
        "glob": {"pattern": REQUIRED, KEYWORDS: "kwargs"},
        "glob_google_drive": {"pattern": REQUIRED},
        "glob_s3": {"pattern": REQUIRED, KEYWORDS: "kwargs"},
        "ls": {"pattern": REQUIRED, "page_size": 1000, "limit": 1000, "verbose": False},
        "lsdir": {"path": "/", "limit": 1000},
        "mv": {
            "source_name": REQUIRED,
            "dest_name": REQUIRED,
            "source_bucket": None,
            "dest_bucket": None,
            "overwrite": False,
        },
        "rm": {"object_name": REQUIRED, "recursive": False, "delete": True},
        "search": {"pattern": REQUIRED, KEYWORDS: "kwargs"},
    },
}

#: Properties of BasicInterface.
PROPERTIES = {"BasicInterface": ["bucket_name"]}

#: Attributes that programs written for 0.4.0 use.
ATTRIBUTES = ["backend", "backend_interface", "bucket_name"]
