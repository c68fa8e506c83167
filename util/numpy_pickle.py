"""Write dictionaries of arrays as `np.save` does, so that every NumPy reads them.

Such `.npy` files hold a pickle. NumPy 2 names its own modules in it by a name that NumPy before
1.26 does not have, and programs that want these files often run with older ones. Here arrays are
pickled by calls that all versions know. Nothing in this program reads such files.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from typing import Any

import numpy as np


def dict_npy(content: Mapping[str, np.ndarray]) -> bytes:
    """The file of `np.save(file, content)`: a pickled dictionary in an array without axes."""
    buffer = io.BytesIO()
    header = {"descr": "|O", "fortran_order": False, "shape": ()}
    np.lib.format.write_array_header_1_0(buffer, header)
    _Pickler(buffer, protocol=3).dump(np.array(dict(content), dtype=object))
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    """Knows arrays: `numpy.ndarray(shape, type, bytes)`, and `numpy.array(content)` of objects."""

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, np.ndarray):
            return NotImplemented
        if obj.dtype == object:
            return np.array, (obj.item(),)
        # A bytearray, since arrays over bytes could not be changed.
        little_endian = np.ascontiguousarray(obj, obj.dtype.newbyteorder("<"))
        content = bytearray(little_endian.tobytes())
        return np.ndarray, (obj.shape, little_endian.dtype.str, content)
