"""ArrayInterface: arrays of every kind."""

from __future__ import annotations

from cottoncandy.interfaces._basic import BasicInterface
from cottoncandy.interfaces._dask import DaskArrayMethods
from cottoncandy.interfaces._dictionaries import DictionaryMethods

__all__ = ["ArrayInterface"]


class ArrayInterface(DaskArrayMethods, DictionaryMethods, BasicInterface):
    """Provides numpy.array concepts: numpy, dask and sparse arrays, dictionaries of arrays.

    Takes the parameters of :class:`BasicInterface`.
    """
