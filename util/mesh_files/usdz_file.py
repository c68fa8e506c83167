"""Write faces as USDZ: a USD scene as text in a zip, which Apple's viewers and Blender open.

The package is a zip whose files are neither compressed nor encrypted and begin on 64 bytes, with
the scene first (OpenUSD's usdz specification). Lengths are metres, y is up, the face looks along
+z. Blend shapes follow the UsdSkel schema: a mesh below a SkelRoot, bound to a skeleton of one
joint that never moves, whose animation holds the strengths.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from util.atomic import write_bytes
from util.mesh_files.gltf_file import METRES, linear_colours

ALIGNMENT = 64
"""Bytes on whose multiples the content of each file begins."""
_EXTRA = 0x1986
"""Number of the field of a zip's local header that fills up to it, as OpenUSD's own packages."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
"""Of the files within: the same face gives the same bytes."""
_SCENE, _TEXTURE = "face.usda", "texture.png"
_NEGLIGIBLE_M = 1e-5
"""Where a blend shape moves a vertex by less, it leaves it out."""
_IDENTITY = "( (1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1) )"


@dataclass(frozen=True)
class UsdMesh:
    """What a package holds. V vertices, F triangles."""

    vertices_dm: np.ndarray
    """(V, 3)"""
    triangles: np.ndarray
    """(F, 3) counter-clockwise seen from outside."""
    normals: np.ndarray
    """(V, 3) unit."""
    colours: np.ndarray | None = None
    """(V, 3) RGB, sRGB-encoded; clipped to [0, 1]. Left out beside a texture."""
    uv: np.ndarray | None = None
    """(U, 2) texture coordinates, origin bottom left."""
    uv_triangles: np.ndarray | None = None
    """(F, 3) into them."""
    texture_png: bytes | None = None
    """Content of a PNG file."""
    remarks: Mapping[str, str] = field(default_factory=dict)
    """What else is worth knowing, as customLayerData."""


@dataclass(frozen=True)
class BlendShapes:
    """Named changes of a mesh, ready to be written: most of a file, and the same for all faces."""

    names: tuple[str, ...]
    text: str
    """The prims."""


def blend_shapes(names: Sequence[str], deltas_dm: np.ndarray) -> BlendShapes:
    """Blend shapes as text.

    Args:
        names: identifiers of USD, such as ARKit's names.
        deltas_dm: (T, V, 3) what each adds at full strength.

    Raises:
        ValueError: a name is none, or a number is not finite.
    """
    if not np.isfinite(deltas_dm).all():
        raise ValueError("blend shapes hold non-finite numbers")
    prims = []
    for name, delta_dm in zip(names, deltas_dm, strict=True):
        if not name.isidentifier() or not name.isascii():
            raise ValueError(f"blend shape {name!r}: USD wants letters, digits and underscores")
        delta = METRES * delta_dm
        (moved,) = np.nonzero(np.linalg.norm(delta, axis=1) >= _NEGLIGIBLE_M)
        if len(moved) == 0:
            moved = np.zeros(1, np.int64)
        prims.append(
            f'            def BlendShape "{name}"\n            {{\n'
            f"                uniform vector3f[] offsets = {_short_vectors(delta[moved])}\n"
            f"                uniform int[] pointIndices = {_numbers(moved)}\n"
            "            }\n"
        )
    return BlendShapes(tuple(names), "".join(prims))


def write_usdz(path: Path, mesh: UsdMesh, shapes: Sequence[BlendShapes] = ()) -> None:
    """Write a package atomically.

    Raises:
        ValueError: a number is not finite; nothing is written.
    """
    try:
        content = usdz_bytes(mesh, shapes)
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from error
    write_bytes(path, content)


def usdz_bytes(mesh: UsdMesh, shapes: Sequence[BlendShapes] = ()) -> bytes:
    """The content of a package.

    Raises:
        ValueError: a number is not finite.
    """
    files = {_SCENE: scene_text(mesh, shapes).encode("utf-8")}
    if mesh.texture_png is not None:
        files[_TEXTURE] = mesh.texture_png
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            info = zipfile.ZipInfo(name, _EPOCH)
            # A local header is 30 bytes, the name and the extra field, of which 4 are its head.
            start = package.tell() + 30 + len(name) + 4
            padding = -start % ALIGNMENT
            info.extra = _EXTRA.to_bytes(2, "little") + padding.to_bytes(2, "little")
            info.extra += bytes(padding)
            archive.writestr(info, content)
    return package.getvalue()


def scene_text(mesh: UsdMesh, shapes: Sequence[BlendShapes] = ()) -> str:
    """The scene of a package.

    Raises:
        ValueError: a number is not finite, or a texture has no coordinates.
    """
    for what in ("vertices_dm", "normals", "colours", "uv"):
        values = getattr(mesh, what)
        if values is not None and not np.isfinite(values).all():
            raise ValueError(f"{what} holds non-finite numbers")
    points = METRES * mesh.vertices_dm
    counts = "3, " * (len(mesh.triangles) - 1) + "3"
    names = [name for group in shapes for name in group.names]
    remarks = "".join(
        f"        string {key} = {json.dumps(text, ensure_ascii=False)}\n"
        for key, text in mesh.remarks.items()
    )
    attributes = [
        'uniform token subdivisionScheme = "none"',
        "uniform bool doubleSided = 1",
        f"float3[] extent = {_vectors(np.stack([points.min(axis=0), points.max(axis=0)]), 6)}",
        f"int[] faceVertexCounts = [{counts}]",
        f"int[] faceVertexIndices = {_numbers(mesh.triangles)}",
        f"point3f[] points = {_vectors(points, 6)}",
        f"normal3f[] normals = {_vectors(mesh.normals, 4)} (\n            interpolation = "
        '"vertex"\n        )',
        "rel material:binding = </face/skin>",
        *_surface_attributes(mesh),
    ]
    if names:
        quoted = ", ".join(f'"{name}"' for name in names)
        targets = ", ".join(f"</face/mesh/{name}>" for name in names)
        attributes += [
            f"uniform token[] skel:blendShapes = [{quoted}]",
            f"rel skel:blendShapeTargets = [{targets}]",
            "rel skel:skeleton = </face/skeleton>",
            "int[] primvars:skel:jointIndices = [0] (\n            elementSize = 1\n"
            '            interpolation = "constant"\n        )',
            "float[] primvars:skel:jointWeights = [1] (\n            elementSize = 1\n"
            '            interpolation = "constant"\n        )',
        ]
    body = "".join(f"            {line}\n" for line in attributes)
    api = '["MaterialBindingAPI", "SkelBindingAPI"]' if names else '["MaterialBindingAPI"]'
    return (
        "#usda 1.0\n(\n    customLayerData = {\n"
        f"{remarks}"
        '    }\n    defaultPrim = "face"\n    metersPerUnit = 1\n    upAxis = "Y"\n)\n\n'
        f'def {"SkelRoot" if names else "Xform"} "face" (\n    kind = "component"\n)\n{{\n'
        f'        def Mesh "mesh" (\n            prepend apiSchemas = {api}\n        )\n'
        "        {\n"
        f"{body}"
        f"{''.join(group.text for group in shapes)}"
        "        }\n"
        f"{_skeleton(names) if names else ''}"
        f"{_material(mesh)}"
        "}\n"
    )


def _surface_attributes(mesh: UsdMesh) -> list[str]:
    """Texture coordinates, or colours, which the format wants linear."""
    if mesh.texture_png is not None:
        if mesh.uv is None or mesh.uv_triangles is None:
            raise ValueError("a texture is given without the coordinates that lay it over the mesh")
        return [
            f"texCoord2f[] primvars:st = {_vectors(mesh.uv, 6)} (\n            interpolation = "
            '"faceVarying"\n        )',
            f"int[] primvars:st:indices = {_numbers(mesh.uv_triangles)}",
        ]
    if mesh.colours is None:
        return []
    linear = linear_colours(mesh.colours.clip(0, 1))
    return [
        f"color3f[] primvars:displayColor = {_vectors(linear, 4)} (\n            interpolation = "
        '"vertex"\n        )'
    ]


def _material(mesh: UsdMesh) -> str:
    """Skin without gloss, coloured by the texture or by the vertices."""
    if mesh.texture_png is not None:
        source, reader = "texture.outputs:rgb", _texture_nodes()
    else:
        source, reader = "colour.outputs:result", _COLOUR_NODE
    return (
        '        def Material "skin"\n        {\n'
        "            token outputs:surface.connect = </face/skin/surface.outputs:surface>\n"
        '            def Shader "surface"\n            {\n'
        '                uniform token info:id = "UsdPreviewSurface"\n'
        f"                color3f inputs:diffuseColor.connect = </face/skin/{source}>\n"
        "                float inputs:metallic = 0\n"
        "                float inputs:roughness = 1\n"
        "                token outputs:surface\n"
        "            }\n"
        f"{reader}"
        "        }\n"
    )


_COLOUR_NODE = """            def Shader "colour"
            {
                uniform token info:id = "UsdPrimvarReader_float3"
                string inputs:varname = "displayColor"
                float3 outputs:result
            }
"""


def _texture_nodes() -> str:
    return f"""            def Shader "texture"
            {{
                uniform token info:id = "UsdUVTexture"
                asset inputs:file = @{_TEXTURE}@
                float2 inputs:st.connect = </face/skin/coordinates.outputs:result>
                token inputs:sourceColorSpace = "sRGB"
                token inputs:wrapS = "clamp"
                token inputs:wrapT = "clamp"
                float3 outputs:rgb
            }}
            def Shader "coordinates"
            {{
                uniform token info:id = "UsdPrimvarReader_float2"
                string inputs:varname = "st"
                float2 outputs:result
            }}
"""


def _skeleton(names: Sequence[str]) -> str:
    """One joint that never moves, and the strengths of the blend shapes, all 0."""
    quoted = ", ".join(f'"{name}"' for name in names)
    zeros = ", ".join("0" for _ in names)
    return (
        '        def Skeleton "skeleton" (\n            prepend apiSchemas = ["SkelBindingAPI"]\n'
        "        )\n        {\n"
        '            uniform token[] joints = ["head"]\n'
        f"            uniform matrix4d[] bindTransforms = [{_IDENTITY}]\n"
        f"            uniform matrix4d[] restTransforms = [{_IDENTITY}]\n"
        "            rel skel:animationSource = </face/skeleton/strengths>\n"
        '            def SkelAnimation "strengths"\n            {\n'
        f"                uniform token[] blendShapes = [{quoted}]\n"
        f"                float[] blendShapeWeights = [{zeros}]\n"
        "            }\n        }\n"
    )


def _numbers(values: np.ndarray) -> str:
    return "[" + ",".join(map(str, values.reshape(-1).tolist())) + "]"


def _vectors(values: np.ndarray, decimals: int) -> str:
    """`[(x, y, z), ...]`, a minus before no zero."""
    rounded = np.round(values, decimals) + 0.0
    row = "(" + ", ".join([f"%.{decimals}f"] * values.shape[1]) + ")"
    return "[" + ", ".join([row] * len(rounded)) % tuple(rounded.reshape(-1).tolist()) + "]"


def _short_vectors(values: np.ndarray) -> str:
    """The same in as few characters as 0.01 mm need: most of a package is such text."""
    rounded = (np.round(values, 5) + 0.0).reshape(-1).tolist()
    return "[" + ",".join(["(%.4g,%.4g,%.4g)"] * len(values)) % tuple(rounded) + "]"
