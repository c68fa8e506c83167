"""USDZ packages: alignment by an own parser of zips, the scene by OpenUSD where it is installed."""

from __future__ import annotations

import io
import struct
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from util.mesh_files.usdz_file import UsdMesh, blend_shapes, scene_text, usdz_bytes, write_usdz


def png() -> bytes:
    content = io.BytesIO()
    Image.new("RGB", (4, 4), (200, 30, 40)).save(content, "PNG")
    return content.getvalue()


def square(textured: bool = False) -> UsdMesh:
    vertices = np.array([[-1.0, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]])
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    normals = np.tile([0.0, 0, 1], (4, 1))
    mesh = UsdMesh(vertices, triangles, normals, colours=np.full((4, 3), 0.5))
    if not textured:
        return mesh
    uv = vertices[:, :2] / 2 + 0.5
    return replace(mesh, colours=None, uv=uv, uv_triangles=triangles, texture_png=png())


def units():
    deltas = np.zeros((2, 4, 3))
    deltas[0, 2] = [0, 0, 0.5]
    return blend_shapes(["jawOpen", "tongueOut"], deltas)


def local_files(content: bytes) -> dict[str, tuple[int, int, bytes]]:
    """Name -> offset of the content, method and content, by the zip's local headers."""
    found, at = {}, 0
    while content[at : at + 4] == b"PK\x03\x04":
        flags, method = struct.unpack_from("<HH", content, at + 6)
        size, whole, name_size, extra_size = struct.unpack_from("<IIHH", content, at + 18)
        assert size == whole and flags & 0b1001 == 0  # not encrypted, sizes stand here
        start = at + 30 + name_size + extra_size
        name = content[at + 30 : at + 30 + name_size].decode("ascii")
        found[name] = start, method, content[start : start + size]
        at = start + size
    assert content[at : at + 4] == b"PK\x01\x02"
    return found


@pytest.mark.parametrize("textured", [False, True])
def test_contents_are_stored_on_64_bytes_with_the_scene_first(textured: bool):
    content = usdz_bytes(square(textured), [units()])
    files = local_files(content)
    assert list(files) == (["face.usda", "texture.png"] if textured else ["face.usda"])
    for start, method, _ in files.values():
        assert start % 64 == 0 and method == 0
    assert files["face.usda"][2].startswith(b"#usda 1.0\n")
    if textured:
        assert files["texture.png"][2] == png()
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
    assert content == usdz_bytes(square(textured), [units()])


def test_the_scene_opens_in_openusd(tmp_path: Path):
    pxr: Any = pytest.importorskip("pxr.Usd", reason="pip install usd-core")
    from pxr import UsdGeom, UsdSkel, UsdValidation  # pyright: ignore[reportMissingImports]

    path = tmp_path / "face.usdz"
    remarks = {"photo": 'a "b" \\ </script> 顔.jpg'}
    write_usdz(path, replace(square(textured=True), remarks=remarks), [units()])
    stage = pxr.Stage.Open(str(path))
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert stage.GetRootLayer().customLayerData == remarks
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/face/mesh"))
    np.testing.assert_allclose(mesh.GetPointsAttr().Get(), 0.1 * square().vertices_dm, atol=1e-6)
    query = UsdSkel.BlendShapeQuery(UsdSkel.BindingAPI(mesh.GetPrim()))
    assert query.GetNumBlendShapes() == 2
    (moved,) = query.ComputeBlendShapePointIndices()[:1]
    assert list(moved) == [2]
    registry = UsdValidation.ValidationRegistry()
    context = UsdValidation.ValidationContext(registry.GetOrLoadAllValidators())
    problems = [str(error.GetMessage()) for error in context.Validate(stage)]
    assert not problems


def test_colours_are_linear_and_units_leave_out_what_stays():
    text = scene_text(square(), [units()])
    assert "(0.2140, 0.2140, 0.2140)" in text  # 0.5 of sRGB
    assert "offsets = [(0,0,0.05)]" in text
    assert "pointIndices = [2]" in text and "pointIndices = [0]" in text
    assert "displayColor" not in scene_text(square(textured=True))


def test_what_does_not_fit_is_refused(tmp_path: Path):
    broken = replace(square(), normals=np.full((4, 3), np.inf))
    with pytest.raises(ValueError, match=r"a.usdz: normals holds non-finite"):
        write_usdz(tmp_path / "a.usdz", broken)
    assert not list(tmp_path.iterdir())
    with pytest.raises(ValueError, match="coordinates"):
        scene_text(replace(square(), texture_png=png()))
    with pytest.raises(ValueError, match="'jaw open'"):
        blend_shapes(["jaw open"], np.zeros((1, 4, 3)))
