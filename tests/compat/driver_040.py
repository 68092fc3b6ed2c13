"""Run by the interpreter of cottoncandy 0.4.0: write and read the cases, report what came.

``python driver_040.py RESULTS.pickle``. Each line of the standard input is a task in JSON:

``{"write": prefix, "names": [...]}``
    store these cases under ``prefix/name``;
``{"read": prefix, "names": [...], "as": kind}``
    read them again; ``kind`` replaces the kinds of the cases.

on the interface that ``{"interface": arguments}`` opens. Results: for each ``prefix/name`` of a
read the pair ``("value", value)`` or ``("error", text)``; for each that could not be written an
error under ``("write", prefix/name)``.
"""

from __future__ import annotations

import io
import json
import pickle
import sys
import warnings

import cases
import numpy

import cottoncandy
import cottoncandy.utils


class Pickler(pickle.Pickler):
    """Sends arrays in numpy's own format: pickled ones may lose their byte order."""

    def reducer_override(self, value):
        """Return how to rebuild an array; leave the rest to pickle."""
        if type(value) is not numpy.ndarray:
            return NotImplemented
        body = io.BytesIO()
        numpy.save(body, value, allow_pickle=False)
        body.seek(0)
        return numpy.load, (body,)


def run(cci, task, results):
    """Do one task."""
    for name in task["names"]:
        case = cases.CASES.get(name)
        try:
            if "write" in task:
                cases.upload(cci, task["write"] + "/" + name, case)
            else:
                kind = task.get("as") or case.kind
                key = task["read"] + "/" + name
                results[key] = ("value", cases.download(cci, key, kind))
        except Exception as error:
            key = ("write", task["write"] + "/" + name) if "write" in task else key
            results[key] = ("error", f"{type(error).__name__}: {error}")


def main(results_file):
    """Do the tasks that come, write the results to a file."""
    warnings.simplefilter("ignore")
    # 0.4.0 refuses to make chunks below 5 MB; how it makes them does not depend on their size.
    cottoncandy.utils.MIN_MPU_SIZE = 1
    cottoncandy.utils.MAX_MPU_PARTS = 10**9
    results = {}
    cci = None
    for line in sys.stdin:
        task = json.loads(line)
        if "interface" in task:
            cci = cottoncandy.get_interface(verbose=False, **task["interface"])
        else:
            run(cci, task, results)
    with open(results_file, "wb") as file:
        Pickler(file, protocol=5).dump(results)


if __name__ == "__main__":
    main(*sys.argv[1:])
