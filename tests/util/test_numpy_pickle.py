"""Dictionaries of arrays as `np.save` writes them: read by it, and by older versions too."""

from __future__ import annotations

import io
import pickletools

import numpy as np

from util.numpy_pickle import dict_npy

CONTENT = {
    "coeff": np.arange(12, dtype=np.float32).reshape(3, 4),
    "lm68": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "empty": np.zeros((0, 3), np.float32),
}


def test_numpy_reads_it_back():
    read = np.load(io.BytesIO(dict_npy(CONTENT)), allow_pickle=True)
    assert read.shape == () and read.dtype == object
    for content in (read.item(), read.tolist()):
        assert list(content) == list(CONTENT)
        for key, array in CONTENT.items():
            np.testing.assert_array_equal(content[key], array)
            assert content[key].dtype == array.dtype and content[key].flags.writeable


def test_it_names_nothing_that_older_versions_lack():
    """NumPy 2 alone has numpy._core; protocol 3 is what Python 3 has read from the beginning."""
    content = dict_npy(CONTENT)
    header = 10 + int.from_bytes(content[8:10], "little")
    steps = list(pickletools.genops(content[header:]))
    names = {argument for step, argument, _ in steps if "GLOBAL" in step.name}
    assert names == {"numpy array", "numpy ndarray", "builtins bytearray"}
    assert max(step.proto for step, _, _ in steps) <= 3


def test_the_header_is_that_of_numpy():
    theirs = io.BytesIO()
    np.save(theirs, np.array(CONTENT, dtype=object), allow_pickle=True)
    assert dict_npy(CONTENT)[:128] == theirs.getvalue()[:128]
