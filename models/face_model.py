"""A linear 3D morphable model: coefficients in, neutral-pose face out.

    identity, expression -> shape = mean + B_id a + B_exp b        (object frame, decimetres)
    texture              -> albedo = mean + B_tex c                (sRGB-encoded, [0, 1])
    shape                -> vertex normals, landmarks

After Blanz and Vetter (SIGGRAPH 1999) and Deng et al. (CVPRW 2019, eq. 1). Unlike the original,
landmarks are barycentric points, so that they need not be vertices, and any mesh, basis size and
level of detail fits the same class. A model may have joints too (`models.skeleton`), which turn
parts of the shape.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from models.landmark_embedding import LandmarkEmbedding, MovingContour
from models.mesh import VertexNormals
from models.parameters import ParameterBlock, ParameterLayout
from models.self_shadow import LightPaths, SelfShadow
from models.skeleton import Skeleton, SkeletonData


@dataclass(frozen=True)
class IdentityCard:
    """Says which face model gave coefficients their meaning.

    Checkpoints and outputs carry it: coefficients of one model are noise to another.
    """

    name: str
    version: str
    licence: str
    fingerprint: str
    """SHA-256 (16 hex digits) of the arrays that define the coefficients, equal for all levels
    of detail.

    Landmarks are no part of it: they do not change which face coefficients mean. A network that was
    trained with landmarks somewhat elsewhere still predicts the same shapes, so refusing it would
    only cost its training; and the landmark files that users lay beside FLAME come and go. What
    they do change, losses and landmark errors, the version tells: a model whose landmarks are
    calibrated anew gets a new one, and loading a checkpoint of another version says so. Only
    if it moves the points by which photos are aligned does the origin follow, and so the hash."""

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.fingerprint})"

    @property
    def record(self) -> dict[str, str]:
        """Plain values, as files beside coefficients hold them."""
        return {
            "name": self.name,
            "version": self.version,
            "fingerprint": self.fingerprint,
            "licence": self.licence,
        }


@dataclass(frozen=True)
class CoarserMesh:
    """A mesh over the first vertices of a face model, for what has no room for all of them."""

    vertex_count: int
    """How many of the vertices are used."""
    triangles: np.ndarray
    """(F, 3) int32."""
    landmark_vertices: np.ndarray
    """(L, 3) int32, and their weights, as those of the face model."""
    landmark_barycentrics: np.ndarray
    """(L, 3) float32."""
    uv: np.ndarray | None
    """(U, 2) float32 texture coordinates."""
    uv_triangles: np.ndarray | None
    """(F, 3) int32 into them."""


@dataclass(frozen=True)
class NaturalExpression:
    """How expression coefficients are distributed over photographs of faces.

    Units such as a blink or a smile go one way only and go together, so that the mean is not the
    neutral face and coefficients are not independent.
    """

    mean: np.ndarray
    """(Ke,) float32."""
    covariance: np.ndarray
    """(Ke, Ke) float32."""


@dataclass(frozen=True)
class FaceModelData:
    """A face model as arrays, as a file holds it. V vertices, F triangles."""

    name: str
    version: str
    licence: str
    mean_shape: np.ndarray
    """(V, 3) float32, object frame, decimetres."""
    identity_basis: np.ndarray
    """(V, 3, Ki) float32."""
    expression_basis: np.ndarray
    """(V, 3, Ke) float32."""
    mean_albedo: np.ndarray
    """(V, 3) float32, sRGB-encoded, [0, 1]."""
    albedo_basis: np.ndarray
    """(V, 3, Kt) float32."""
    identity_sigma: np.ndarray
    """(Ki,) standard deviation of each identity coefficient in the population."""
    expression_sigma: np.ndarray
    """(Ke,)"""
    albedo_sigma: np.ndarray
    """(Kt,)"""
    triangles: np.ndarray
    """(F, 3) int32, counter-clockwise seen from outside."""
    landmark_vertices: np.ndarray
    """(L, 3) int32 vertices whose barycentric mix is each landmark; the 68 iBUG points in all
    models that the trainer takes."""
    landmark_barycentrics: np.ndarray
    """(L, 3) float32, rows sum to 1."""
    skin_mask: np.ndarray
    """(V,) float32, 1 on skin, whose albedo should be uniform (reflectance term)."""
    front_triangles: np.ndarray
    """(F2, 3) int32: the region that the photometric term looks at."""
    alignment_points: np.ndarray
    """(5, 3) float32 dm: eye centres (image left first), nose tip, mouth corners."""
    uv: np.ndarray | None = None
    """(U, 2) float32 texture coordinates in [0, 1], origin bottom left; None for models that come
    without. A vertex on a seam has several."""
    uv_triangles: np.ndarray | None = None
    """(F, 3) int32: the texture coordinates of the triangles' corners; None where coordinate v is
    that of vertex v."""
    unit_names: tuple[str, ...] = ()
    """Named expression units (ARKit names)."""
    unit_matrix: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    """(units, Ke): expression coefficients of each unit at full strength."""
    regions: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Named (V,) bool masks, such as lips, brows, eyes; numpy-like, always on the CPU."""
    parities: Mapping[str, np.ndarray] = field(default_factory=dict)
    """Block name (identity, expression, texture) -> (K,) signs of the mirror image's coefficients;
    empty for models without mirror symmetry."""
    fingerprint: str = ""
    """Hash of the defining arrays; computed from the bases when empty."""
    skeleton: SkeletonData | None = None
    """Joints of models that have some."""
    contour: MovingContour | None = None
    """Landmarks that follow the silhouette of a turned head, in models that know them."""
    natural_expression: NaturalExpression | None = None
    """Of models that know it; others are taken as N(0, sigma^2) about the neutral face."""
    coarser: CoarserMesh | None = None
    """Of refined levels of detail: the mesh that was refined."""

    @property
    def card(self) -> IdentityCard:
        """Name, version, licence and hash of this model."""
        bones = self.skeleton
        fingerprint = self.fingerprint or array_fingerprint(
            *(self.mean_shape, self.identity_basis, self.expression_basis, self.albedo_basis),
            *(() if bones is None else (bones.mean_joints, bones.weights, bones.pose_basis)),
        )
        return IdentityCard(self.name, self.version, self.licence, fingerprint)


def array_fingerprint(*arrays: np.ndarray) -> str:
    """Hash shapes and little-endian contents; independent of machine and memory order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(repr(array.shape).encode())
        little_endian = array.dtype.newbyteorder("<")
        digest.update(np.ascontiguousarray(array, dtype=little_endian).tobytes())
    return digest.hexdigest()[:16]


class FaceModel(nn.Module):
    """Decoder of identity, expression and texture coefficients.

    Its arrays are non-persistent buffers: they follow `.to(device)` but never enter checkpoints.
    """

    mean_shape: Tensor
    shape_basis: Tensor
    mean_albedo: Tensor
    albedo_basis: Tensor
    identity_sigma: Tensor
    expression_sigma: Tensor
    albedo_sigma: Tensor
    triangles: Tensor
    front_triangles: Tensor
    skin_mask: Tensor
    alignment_points: Tensor
    uv: Tensor | None
    uv_triangles: Tensor | None
    unit_matrix: Tensor
    natural_mean: Tensor | None
    natural_covariance: Tensor | None

    def __init__(self, data: FaceModelData) -> None:
        """Turn arrays into buffers.

        Raises:
            ValueError: an array's shape contradicts the others, or holds non-finite numbers.
        """
        super().__init__()
        _check(data)
        self.card = data.card
        self.unit_names = data.unit_names
        self.coarser = data.coarser
        natural = data.natural_expression
        self.regions = {name: torch.from_numpy(mask.copy()) for name, mask in data.regions.items()}
        n_id, n_exp = data.identity_basis.shape[2], data.expression_basis.shape[2]
        sigmas = {
            "identity": data.identity_sigma,
            "expression": data.expression_sigma,
            "texture": data.albedo_sigma,
        }
        self.skeleton = None if data.skeleton is None else Skeleton(data.skeleton)
        self.layout = ParameterLayout.for_bases(
            *(_basis_block(name, sigma, data.parities.get(name)) for name, sigma in sigmas.items()),
            joints=None if data.skeleton is None else _joint_block(data.skeleton),
        )

        # One matrix product decodes both: identity and expression share a basis matrix.
        shape_basis = np.concatenate([data.identity_basis, data.expression_basis], axis=2)
        flat = {
            "mean_shape": data.mean_shape.reshape(-1),
            "shape_basis": shape_basis.reshape(-1, n_id + n_exp).T,
            "mean_albedo": data.mean_albedo.reshape(-1),
            "albedo_basis": data.albedo_basis.reshape(data.mean_albedo.size, -1).T,
            "identity_sigma": data.identity_sigma,
            "expression_sigma": data.expression_sigma,
            "albedo_sigma": data.albedo_sigma,
            "skin_mask": data.skin_mask,
            "alignment_points": data.alignment_points,
            "uv": data.uv,
            "unit_matrix": data.unit_matrix,
            "natural_mean": None if natural is None else natural.mean,
            "natural_covariance": None if natural is None else natural.covariance,
        }
        for name, array in flat.items():
            tensor = None if array is None else _float_tensor(array)
            self.register_buffer(name, tensor, persistent=False)
        indices: dict[str, np.ndarray | None] = {
            "triangles": data.triangles,
            "front_triangles": data.front_triangles,
            "uv_triangles": data.uv_triangles if data.uv_triangles is not None else data.triangles,
        }
        if data.uv is None:
            indices["uv_triangles"] = None
        for name, array in indices.items():
            tensor = None if array is None else _index_tensor(array)
            self.register_buffer(name, tensor, persistent=False)
        self.landmark_embedding = LandmarkEmbedding(
            _index_tensor(data.landmark_vertices),
            _float_tensor(data.landmark_barycentrics),
            data.contour,
        )
        self.normals_of = VertexNormals(self.triangles, self.vertex_count)

    @property
    def vertex_count(self) -> int:
        """Number of vertices V."""
        return self.mean_shape.numel() // 3

    def shape(
        self,
        identity: Float[Tensor, "batch identity"],
        expression: Float[Tensor, "batch expression"],
        joints_rad: Float[Tensor, "batch joints"] | None = None,
        neutral: Float[Tensor, "batch vertices 3"] | None = None,
    ) -> Float[Tensor, "batch vertices 3"]:
        """Vertices in the object frame, decimetres.

        Args:
            identity: weights of the identity basis.
            expression: weights of the expression basis.
            joints_rad: axis-angle rotations of the joints, for models that have some; None leaves
                them at rest.
            neutral: the vertices of this identity without expression, joints at rest, where they
                are known already: the larger part of the work is then done.
        """
        coefficients = torch.cat([identity, expression], dim=1)
        if neutral is None:
            flat = torch.addmm(self.mean_shape, coefficients, self.shape_basis)
        else:
            by_expression = self.shape_basis[identity.shape[1] :]
            flat = torch.addmm(neutral.flatten(1), expression, by_expression)
        vertices = flat.unflatten(1, (-1, 3))
        if self.skeleton is None or joints_rad is None:
            return vertices
        return self.skeleton(vertices, coefficients, joints_rad)

    def albedo(self, texture: Float[Tensor, "batch texture"]) -> Float[Tensor, "batch vertices 3"]:
        """Skin colour before light, sRGB-encoded; [0, 1] for plausible coefficients.

        Not clipped, as a clipped colour would have no gradient back into range.
        """
        flat = torch.addmm(self.mean_albedo, texture, self.albedo_basis)
        return flat.unflatten(1, (-1, 3))

    @torch.no_grad()
    def light_paths(self) -> LightPaths:
        """How light reaches the mean face; takes a third of a second for 9,000 vertices."""
        vertices = self.mean_shape.reshape(1, -1, 3)
        normals = self.normals(vertices)[0].float().cpu().numpy()
        return LightPaths.of(vertices[0].float().cpu().numpy(), normals, self.triangles.cpu())

    @cached_property
    @torch.inference_mode(False)
    def self_shadow(self) -> SelfShadow:
        """What the mean face blocks of the light; found when first asked for."""
        return SelfShadow.of(self.light_paths()).to(self.mean_shape)

    def normals(
        self, vertices: Float[Tensor, "batch vertices 3"]
    ) -> Float[Tensor, "batch vertices 3"]:
        """Unit vertex normals, pointing outwards."""
        return self.normals_of(vertices)

    def landmarks(
        self,
        vertices: Float[Tensor, "batch vertices 3"],
        yaw_rad: Float[Tensor, " batch"] | None = None,
    ) -> Float[Tensor, "batch landmarks 3"]:
        """The landmarks, in the frame of the vertices.

        With the yaw of the faces, those of the contour follow the silhouette, where the model has
        them.
        """
        return self.landmark_embedding(vertices, yaw_rad)

    def units(self, weights: Mapping[str, float]) -> Float[Tensor, "1 expression"]:
        """Expression coefficients of named units, such as `{"jawOpen": 0.5}`.

        Raises:
            ValueError: the model has no unit of that name.
        """
        unknown = sorted(set(weights) - set(self.unit_names))
        if unknown:
            raise ValueError(
                f"face model {self.card.name} has no expression unit {', '.join(unknown)}; "
                f"it has: {', '.join(self.unit_names) or 'none'}"
            )
        strength = self.unit_matrix.new_tensor([weights.get(n, 0.0) for n in self.unit_names])
        return strength[None] @ self.unit_matrix


def _float_tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32)).clone()


def _index_tensor(array: np.ndarray) -> Tensor:
    """int32 and C-contiguous, as rasterisers read them."""
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int32)).clone()


def _basis_block(name: str, sigma: np.ndarray, parity: np.ndarray | None) -> ParameterBlock:
    return ParameterBlock(
        name,
        len(sigma),
        "sigma",
        sigma=tuple(float(value) for value in sigma),
        parity=None if parity is None else tuple(int(sign) for sign in parity),
    )


def _joint_block(skeleton: SkeletonData) -> ParameterBlock:
    sigma = tuple(float(value) for value in skeleton.sigma)
    return ParameterBlock("joints_rad", len(sigma), "rad", sigma=sigma)


def _check(data: FaceModelData) -> None:
    """Hold every array of a face model against the others."""
    vertices, landmarks = data.mean_shape.shape[0], data.landmark_vertices.shape[0]
    n_id, n_exp, n_tex = (
        basis.shape[-1] for basis in (data.identity_basis, data.expression_basis, data.albedo_basis)
    )
    expected = {
        "mean_shape": (vertices, 3),
        "identity_basis": (vertices, 3, n_id),
        "expression_basis": (vertices, 3, n_exp),
        "mean_albedo": (vertices, 3),
        "albedo_basis": (vertices, 3, n_tex),
        "identity_sigma": (n_id,),
        "expression_sigma": (n_exp,),
        "albedo_sigma": (n_tex,),
        "triangles": (data.triangles.shape[0], 3),
        "front_triangles": (data.front_triangles.shape[0], 3),
        "landmark_vertices": (landmarks, 3),
        "landmark_barycentrics": (landmarks, 3),
        "skin_mask": (vertices,),
        "alignment_points": (5, 3),
        "unit_matrix": (len(data.unit_names), n_exp if data.unit_names else 0),
    }
    if data.uv is not None and data.uv_triangles is None:
        expected["uv"] = (vertices, 2)
    elif data.uv is not None:
        expected["uv"] = (data.uv.shape[0], 2)
        expected["uv_triangles"] = data.triangles.shape
    arrays: dict[str, np.ndarray] = {name: getattr(data, name) for name in expected}
    if (natural := data.natural_expression) is not None:
        of_photos = {"mean": (n_exp,), "covariance": (n_exp, n_exp)}
        expected |= {f"natural_expression.{name}": shape for name, shape in of_photos.items()}
        arrays |= {f"natural_expression.{name}": getattr(natural, name) for name in of_photos}
    if (bones := data.skeleton) is not None:
        joints = len(bones.parents)
        of_bones = {
            "mean_joints": (joints, 3),
            "joint_basis": (joints, 3, n_id + n_exp),
            "weights": (vertices, joints),
            "pose_basis": (vertices, 3, 9 * (joints - 1)),
            "sigma": (3 * (joints - 1),),
        }
        expected |= {f"skeleton.{name}": shape for name, shape in of_bones.items()}
        arrays |= {f"skeleton.{name}": getattr(bones, name) for name in of_bones}
        if bones.parents[0] != -1 or not all(
            0 <= parent < joint for joint, parent in enumerate(bones.parents[1:], start=1)
        ):
            raise ValueError(f"face model {data.name}: joints must come after their parents")
    for name, shape in expected.items():
        array = arrays[name]
        if array.shape != shape:
            raise ValueError(f"face model {data.name}: {name} is {array.shape}, expected {shape}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ValueError(f"face model {data.name}: {name} holds non-finite numbers")
    if (natural := data.natural_expression) is not None:
        spread = natural.covariance.astype(np.float64)
        least = -1e-6 * np.abs(spread).max(initial=1e-6)
        if not np.allclose(spread, spread.T, atol=-least) or np.linalg.eigvalsh(spread)[0] < least:
            raise ValueError(
                f"face model {data.name}: natural_expression.covariance is none: not symmetric, or "
                "negative in some direction"
            )
    for name, parity in data.parities.items():
        size = {"identity": n_id, "expression": n_exp, "texture": n_tex}[name]
        if parity.shape != (size,) or not np.isin(parity, (-1, 1)).all():
            raise ValueError(f"face model {data.name}: the {name} parity must be {size} signs")
    indices = {
        name: getattr(data, name) for name in ("triangles", "front_triangles", "landmark_vertices")
    }
    if data.contour is not None:
        indices["contour.vertices"] = data.contour.vertices
    if data.uv is not None and data.uv_triangles is not None:
        largest = data.uv_triangles.max(initial=-1)
        if data.uv_triangles.min(initial=0) < 0 or largest >= len(data.uv):
            raise ValueError(
                f"face model {data.name}: uv_triangles must index its {len(data.uv)} texture "
                "coordinates"
            )
    for name, array in indices.items():
        if array.size == 0 or array.min() < 0 or array.max() >= vertices:
            raise ValueError(
                f"face model {data.name}: {name} must index its {vertices} vertices and not be "
                "empty"
            )
