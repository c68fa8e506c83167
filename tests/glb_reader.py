"""A reader of `.glb` files by the specification (Khronos glTF 2.0.1), apart from our writer."""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

_TYPES = {5123: np.dtype("<u2"), 5125: np.dtype("<u4"), 5126: np.dtype("<f4")}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}


@dataclass(frozen=True)
class Glb:
    """The two chunks of a file."""

    json: dict[str, Any]
    binary: bytes

    @classmethod
    def parse(cls, content: bytes) -> Glb:
        magic, version, size = struct.unpack_from("<4sII", content)
        assert (magic, version, size) == (b"glTF", 2, len(content))
        json_size, json_kind = struct.unpack_from("<I4s", content, 12)
        start = 20 + json_size
        binary_size, binary_kind = struct.unpack_from("<I4s", content, start)
        assert (json_kind, binary_kind) == (b"JSON", b"BIN\0")
        assert json_size % 4 == 0 and binary_size % 4 == 0
        assert start + 8 + binary_size == len(content)
        text = content[20:start]
        assert len(text) - len(text.rstrip(b" ")) < 4
        return cls(json.loads(text.decode("utf-8")), content[start + 8 :])

    def view(self, number: int) -> bytes:
        view = self.json["bufferViews"][number]
        start = view["byteOffset"]
        assert start + view["byteLength"] <= len(self.binary)
        return self.binary[start : start + view["byteLength"]]

    def accessor(self, number: int) -> np.ndarray:
        """(count, ...) values; sparse ones filled in."""
        described = self.json["accessors"][number]
        dtype, width = _TYPES[described["componentType"]], _WIDTHS[described["type"]]
        if "bufferView" in described:
            stored = np.frombuffer(self.view(described["bufferView"]), dtype)
            values = stored.reshape(described["count"], width).copy()
        else:
            values = np.zeros((described["count"], width), dtype)
        if sparse := described.get("sparse"):
            kind = _TYPES[sparse["indices"]["componentType"]]
            places = np.frombuffer(self.view(sparse["indices"]["bufferView"]), kind).astype(int)
            changed = np.frombuffer(self.view(sparse["values"]["bufferView"]), dtype)
            assert len(places) == sparse["count"] > 0
            assert (np.diff(places) > 0).all()
            values[places] = changed.reshape(-1, width)
        return values[:, 0] if width == 1 else values

    @property
    def primitive(self) -> dict[str, Any]:
        return self.json["meshes"][0]["primitives"][0]

    def attribute(self, name: str) -> np.ndarray:
        return self.accessor(self.primitive["attributes"][name])

    @property
    def triangles(self) -> np.ndarray:
        return self.accessor(self.primitive["indices"]).reshape(-1, 3).astype(int)

    @property
    def target_names(self) -> list[str]:
        return self.json["meshes"][0]["extras"]["targetNames"]

    @cached_property
    def targets(self) -> np.ndarray:
        """(T, V, 3) metres."""
        return np.stack([self.accessor(t["POSITION"]) for t in self.primitive["targets"]])

    def state(self, time: float | None) -> dict[str, np.ndarray]:
        """Translation, rotation (x, y, z, w) and weights at a time; at rest for None."""
        node, mesh = self.json["nodes"][0], self.json["meshes"][0]
        state = {
            "translation": np.array(node.get("translation", [0, 0, 0]), float),
            "rotation": np.array(node.get("rotation", [0, 0, 0, 1]), float),
            "weights": np.array(mesh.get("weights", []), float),
        }
        if time is None:
            return state
        (animation,) = self.json["animations"]
        for channel in animation["channels"]:
            sampler, path = animation["samplers"][channel["sampler"]], channel["target"]["path"]
            assert channel["target"]["node"] == 0 and sampler["interpolation"] == "LINEAR"
            times = self.accessor(sampler["input"]).astype(float)
            values = self.accessor(sampler["output"]).astype(float).reshape(len(times), -1)
            after = int(np.searchsorted(times, time).clip(1, len(times) - 1)) if time > 0 else 0
            if after == 0 or len(times) == 1:
                state[path] = values[0]
                continue
            share = (time - times[after - 1]) / (times[after] - times[after - 1])
            state[path] = _between(values[after - 1], values[after], share, path == "rotation")
        return state

    def vertices(self, time: float | None = None) -> np.ndarray:
        """(V, 3) metres in the world."""
        state = self.state(time)
        local = self.attribute("POSITION").astype(float)
        if "targets" in self.primitive:
            local = local + np.tensordot(state["weights"], self.targets.astype(float), 1)
        axis, real = state["rotation"][:3], state["rotation"][3]
        crossed = np.cross(axis, local)
        turned = local + 2 * real * crossed + 2 * np.cross(axis, crossed)
        return turned + state["translation"]

    def check(self) -> None:
        """What the specification demands of every file, as far as ours can break it."""
        accessors, views = self.json["accessors"], self.json["bufferViews"]
        assert self.json["asset"]["version"] == "2.0"
        assert self.json["buffers"] == [{"byteLength": len(self.binary)}]
        for view in views:
            assert view["byteOffset"] % 4 == 0 and "byteStride" not in view
        for number, accessor in enumerate(accessors):
            values = self.accessor(number)
            assert len(values) == accessor["count"] > 0
            assert np.isfinite(values).all()
            for bound in {"min", "max"} & set(accessor):
                exact = getattr(values, bound)(axis=0)
                np.testing.assert_array_equal(np.float32(accessor[bound]), np.atleast_1d(exact))
        vertex_data = list(self.primitive["attributes"].values())
        count = len(self.attribute("POSITION"))
        morphs = [target["POSITION"] for target in self.primitive.get("targets", [])]
        for number in vertex_data + morphs:
            assert accessors[number]["count"] == count
            element = self.accessor(number)[0].nbytes
            assert element % 4 == 0  # 3.6.2.4
        for number in [self.primitive["attributes"]["POSITION"], *morphs]:
            assert {"min", "max"} <= set(accessors[number])
        for number, view in enumerate(views):
            users = {i for i, a in enumerate(accessors) if a.get("bufferView") == number}
            purpose = 34963 if users == {self.primitive["indices"]} else None
            purpose = 34962 if users and users <= {*vertex_data, *morphs} else purpose
            assert view.get("target") == purpose
        assert self.triangles.max() < count
        if accessors[self.primitive["indices"]]["componentType"] == 5123:
            assert self.triangles.max() < 65535
        if morphs:
            assert len(self.target_names) == len(morphs)
            assert len(self.json["meshes"][0]["weights"]) == len(morphs)
        for animation in self.json.get("animations", []):
            for sampler in animation["samplers"]:
                assert {"min", "max"} <= set(accessors[sampler["input"]])
                times = self.accessor(sampler["input"])
                assert times[0] >= 0 and (np.diff(times) > 0).all()
            for channel in animation["channels"]:
                stored = self.accessor(animation["samplers"][channel["sampler"]]["output"])
                if channel["target"]["path"] == "rotation":
                    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), 1, atol=1e-6)
        if "NORMAL" in self.primitive["attributes"]:
            lengths = np.linalg.norm(self.attribute("NORMAL"), axis=1)
            np.testing.assert_allclose(lengths, 1, atol=1e-5)


def _between(first: np.ndarray, second: np.ndarray, share: float, spherical: bool) -> np.ndarray:
    if not spherical:
        return (1 - share) * first + share * second
    cosine = first @ second
    if cosine < 0:
        second, cosine = -second, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:
        return first
    return (np.sin((1 - share) * angle) * first + np.sin(share * angle) * second) / np.sin(angle)
