"""ArrayInterface: arrays of every kind."""

from __future__ import annotations

from cottoncandy.interfaces._basic import BasicInterface
from cottoncandy.interfaces._dask import DaskArrayMethods
from cottoncandy.interfaces._dictionaries import DictionaryMethods
from cottoncandy.interfaces._sparse import SparseArrayMethods

__all__ = ["ArrayInterface"]


class ArrayInterface(DaskArrayMethods, SparseArrayMethods, DictionaryMethods, BasicInterface):
    """Provides numpy.array concepts: numpy, dask and sparse arrays, dictionaries of arrays.

    Takes the parameters of :class:`BasicInterface`.
    """
