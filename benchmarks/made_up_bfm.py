"""Made-up files with the names, layouts and types of the user's BFM09 files, of any size.

Nobody's faces: smooth waves over a given mesh. The conversion's tests and its benchmark read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.io import savemat

from util.model_files.bfm_conversion import MICROMETRES, SourceSizes
from util.model_files.bfm_file import STANDARD_POINTS_FILE, point_buf


@dataclass(frozen=True)
class FrontMesh:
    """The mesh that the conversion keeps. V vertices."""

    vertices: np.ndarray
    """(V, 3) decimetres."""
    triangles: np.ndarray
    """(F, 3) from 0."""
    front_triangles: np.ndarray
    """(F2, 3) from 0."""
    keypoints: np.ndarray
    """(68,) vertices from 0."""


def write_sources(
    folder: Path, mesh: FrontMesh, sizes: SourceSizes, *, compress: bool = False, seed: int = 0
) -> None:
    """Write the seven files.

    Args:
        folder: created if missing.
        mesh: lies in random places among the vertices of the full models.
        sizes: of the full models.
        compress: as MATLAB 7 saves; random digits hardly shrink, but take their time.
        seed: of everything random.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    in_identity = np.sort(rng.permutation(sizes.vertices)[: sizes.expression_vertices])
    in_expression = np.sort(rng.permutation(sizes.expression_vertices)[: len(mesh.vertices)])
    where = in_identity[in_expression]

    # Off the centre, as the real one is.
    positions = rng.normal(0, 0.5, (sizes.vertices, 3))
    positions[where] = mesh.vertices + np.array([0.01, -0.02, 0.3])
    colours = rng.uniform(80, 180, (sizes.vertices, 3))
    fields: dict[str, np.ndarray] = {}
    for part, mean, size in (
        ("shape", positions * MICROMETRES, 0.03 * MICROMETRES),
        ("tex", colours, 4.0),
    ):
        fields[f"{part}MU"] = mean.astype(np.float32).reshape(-1, 1)
        fields[f"{part}PC"] = _waves(rng, positions, sizes.components)
        deviations = size / np.sqrt(1 + np.arange(sizes.components))
        fields[f"{part}EV"] = deviations.astype(np.float32)[:, None]
    savemat(folder / "01_MorphableModel.mat", fields, do_compression=compress)

    in_full = positions[in_identity]
    with (folder / "Exp_Pca.bin").open("wb") as file:
        file.write(np.int32(sizes.expression_components).tobytes())
        rng.normal(size=3 * sizes.expression_vertices).astype("<f4").tofile(file)
        _waves(rng, in_full, sizes.expression_components).T.astype("<f4").tofile(file)
    deviations = 0.02 * MICROMETRES / np.sqrt(1 + np.arange(sizes.expression_components))
    text = " ".join(f"{deviation:.6f}" for deviation in deviations)
    (folder / "std_exp.txt").write_text(text + "\n", encoding="utf-8")

    savemat(folder / "BFM_exp_idx.mat", {"trimIndex": in_identity[:, None] + 1.0})
    savemat(folder / "BFM_front_idx.mat", {"idx": in_expression[:, None].astype(np.int32) + 1})
    skin = (np.abs(mesh.vertices[:, 1]) < 0.6).astype(np.uint8)
    savemat(
        folder / "facemodel_info.mat",
        {
            "tri": mesh.triangles.astype(np.int32) + 1,
            "point_buf": point_buf(mesh.triangles, len(mesh.vertices)),
            "tri_mask2": mesh.front_triangles.astype(np.int32) + 1,
            "keypoints": mesh.keypoints[None].astype(np.uint16) + 1,
            "frontmask2_idx": np.unique(mesh.front_triangles)[:, None].astype(np.int32) + 1,
            "skinmask": skin[None],
        },
    )
    standard = mesh.vertices[mesh.keypoints] - mesh.vertices.mean(axis=0)
    savemat(folder / STANDARD_POINTS_FILE, {"lm": standard + np.array([0, 0.004, 0])})


def _waves(rng: np.random.Generator, positions: np.ndarray, components: int) -> np.ndarray:
    """Smooth fields over the positions: (3N, components) float32, column after column."""
    result = np.empty((3 * len(positions), components), np.float32, order="F")
    # Single precision and one matrix product at a time: the full model has 32 million numbers.
    points = positions.astype(np.float32)
    for k in range(components):
        waves = rng.normal(0, 2.5, (3, 3)).astype(np.float32)
        phases = rng.uniform(0, 2 * np.pi, 3).astype(np.float32)
        result[:, k] = np.sin(points @ waves + phases).ravel()
    return result
