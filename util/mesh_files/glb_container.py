"""The container of binary glTF 2.0: arrays as accessors, and the two chunks of a `.glb`.

A file is a JSON part, which says what lies where, and a binary part. Sections are those of the
Khronos specification 2.0.1.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Any

import numpy as np

VERTEX_BUFFER, INDEX_BUFFER = 34962, 34963
"""What a buffer view is for (3.6.2.3); only views of whole vertex attributes and indices say it."""
_COMPONENT_TYPES = {"<f4": 5126, "<u2": 5123, "<u4": 5125}
_ELEMENT_TYPES = {(): "SCALAR", (2,): "VEC2", (3,): "VEC3", (4,): "VEC4"}
_LARGEST_FILE = 2**32 - 1
"""Bytes; the header has 32 bits for them."""


@dataclass(frozen=True)
class GlbPart:
    """Arrays as they lie in a file, ready to be put into others; they are numbered from 0 on."""

    accessors: tuple[dict[str, Any], ...]
    views: tuple[dict[str, Any], ...]
    binary: bytes


class GlbContainer:
    """Collects the arrays of a file, which the JSON part then names by their numbers."""

    def __init__(self) -> None:
        """Start empty."""
        self._accessors: list[dict[str, Any]] = []
        self._views: list[dict[str, Any]] = []
        self._binary = bytearray()

    def view(self, content: bytes, target: int | None = None) -> int:
        """Add bytes; returns the number of their buffer view."""
        self._binary += bytes(-len(self._binary) % 4)  # 3.6.2.4: all of ours begin on four bytes
        view = {"buffer": 0, "byteOffset": len(self._binary), "byteLength": len(content)}
        self._views.append(view if target is None else view | {"target": target})
        self._binary += content
        return len(self._views) - 1

    def accessor(
        self,
        array: np.ndarray,
        target: int | None = None,
        bounds: bool = False,
        normalized: bool = False,
    ) -> int:
        """Add an array; returns the number of its accessor.

        Args:
            array: (n,) or (n, 2..4), float32 or unsigned integers of 16 or 32 bits.
            target: what its buffer view is for.
            bounds: say the smallest and the largest of its elements, where the format demands it.
            normalized: its integers stand for [0, 1].
        """
        accessor = {"bufferView": self.view(_little_endian(array).tobytes(), target)}
        accessor |= _description(array)
        if normalized:
            accessor["normalized"] = True
        if bounds:
            accessor |= _bounds(array)
        self._accessors.append(accessor)
        return len(self._accessors) - 1

    def sparse_accessor(self, count: int, indices: np.ndarray, values: np.ndarray) -> int:
        """Add an array of `count` elements that are 0 but for some (3.6.2.3), with its bounds.

        Args:
            count: of all elements.
            indices: (n,) rising, at least one.
            values: (n, ...) float32 at these places.
        """
        indices = smallest_indices(indices, count)
        whole = _description(values) | {"count": count}
        # The bounds are those of all elements, so of the zeros too.
        zero = np.zeros_like(values[:1])
        whole |= _bounds(values if len(indices) == count else np.concatenate([values, zero]))
        whole["sparse"] = {
            "count": len(indices),
            "indices": {
                "bufferView": self.view(_little_endian(indices).tobytes()),
                "componentType": _description(indices)["componentType"],
            },
            "values": {"bufferView": self.view(_little_endian(values).tobytes())},
        }
        self._accessors.append(whole)
        return len(self._accessors) - 1

    def part(self) -> GlbPart:
        """What was collected so far, to `append` to the containers of other files."""
        return GlbPart(tuple(self._accessors), tuple(self._views), bytes(self._binary))

    def append(self, part: GlbPart) -> int:
        """Add all arrays of a part, as adding one after the other would.

        Returns:
            What is added to the numbers of its accessors.
        """
        self._binary += bytes(-len(self._binary) % 4)
        before, views_before, start = len(self._accessors), len(self._views), len(self._binary)
        self._accessors += [_renumbered(accessor, views_before) for accessor in part.accessors]
        self._views += [view | {"byteOffset": view["byteOffset"] + start} for view in part.views]
        self._binary += part.binary
        return before

    def file(self, document: dict[str, Any]) -> bytes:
        """The whole file (4.4).

        Args:
            document: the JSON part, without what was collected here.

        Raises:
            ValueError: a number in the document is not finite, or the file would be too large.
        """
        self._binary += bytes(-len(self._binary) % 4)
        document = document | {
            "accessors": self._accessors,
            "bufferViews": self._views,
            "buffers": [{"byteLength": len(self._binary)}],
        }
        text = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        content = text.encode("utf-8")
        content += b" " * (-len(content) % 4)
        size = 12 + 8 + len(content) + 8 + len(self._binary)
        if size > _LARGEST_FILE:
            raise ValueError(f"the file would have {size} bytes; the format ends at 4 GiB")
        return b"".join(
            [
                struct.pack("<4sII", b"glTF", 2, size),
                struct.pack("<I4s", len(content), b"JSON"),
                content,
                struct.pack("<I4s", len(self._binary), b"BIN\0"),
                self._binary,
            ]
        )


def smallest_indices(indices: np.ndarray, count: int) -> np.ndarray:
    """Indices of `count` things with 16 bits where they fit, else 32.

    65535 is no index: graphics interfaces begin a new strip of triangles there (3.7.2.1).
    """
    return indices.astype(np.uint16 if count <= 65535 else np.uint32)


def _renumbered(described: dict[str, Any], views_before: int) -> dict[str, Any]:
    """The same accessor, or piece of one, where other buffer views come first."""
    return {
        key: value + views_before
        if key == "bufferView"
        else _renumbered(value, views_before)
        if isinstance(value, dict)
        else value
        for key, value in described.items()
    }


def _little_endian(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("<"))


def _description(array: np.ndarray) -> dict[str, Any]:
    return {
        "componentType": _COMPONENT_TYPES[array.dtype.newbyteorder("<").str],
        "count": len(array),
        "type": _ELEMENT_TYPES[array.shape[1:]],
    }


def _bounds(array: np.ndarray) -> dict[str, Any]:
    """Exactly those of the stored numbers, as validators demand."""
    # Each column in a row, in which numpy looks ten times as fast.
    columns = np.ascontiguousarray(array.reshape(len(array), -1).T)
    return {"min": columns.min(axis=1).tolist(), "max": columns.max(axis=1).tolist()}
