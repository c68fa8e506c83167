"""Light and albedo of a reconstructed face in closed form, given its geometry.

A network trained for minutes knows where a face is long before it knows its colours. With the
geometry fixed, the colour of vertex v is albedo_v(c) * (Y_v Gamma), bilinear in texture c and light
Gamma, so two linear least-squares problems solved in turn give both.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from models.camera import Camera
from models.face_model import FaceModel
from models.lighting import AMBIENT, sh_basis
from models.parameters import Coefficients
from models.stages import Reconstruction

# Residual (image range 0..1) beyond which a vertex counts less: hair, glasses, highlights.
_ROBUST_SCALE = 0.05
# Noise of a vertex colour: albedo or light explains a residual only as far as its prior allows.
_NOISE = 0.1
# Prior deviation of light coefficients from the constant light, and of one channel's from the
# mean of the three: coloured light is rarer than dark or skewed light, and takes skin's place.
_LIGHT_SIGMA = 0.5
_LIGHT_COLOUR_SIGMA = 0.05
# Vertices tell of neighbouring pixels, so that all of the face together count as this many
# independent observations, whatever the mesh's level of detail.
_INDEPENDENT_OBSERVATIONS = 790


@torch.no_grad()
def solve_appearance(
    face_model: FaceModel,
    camera: Camera,
    reconstruction: Reconstruction,
    images: Float[Tensor, "batch 3 height width"],
    skin_mask: Float[Tensor, "batch 1 height width"],
    rounds: int = 3,
) -> Coefficients:
    """Replace light and texture by the best ones for the photos.

    Args:
        face_model: of the reconstruction.
        camera: that the reconstruction was rendered with.
        reconstruction: its geometry and visibility are taken as they are.
        images: the aligned photos, RGB in [0, 1].
        skin_mask: skin probability of each pixel.
        rounds: light, then texture, so many times, with residual-based weights.

    Returns:
        The coefficients with new `gamma` and `texture`; everything else as it was.
    """
    posed, old = reconstruction.posed, reconstruction.coefficients
    colours = _sample(images, camera, posed.vertices_camera)
    weights = _sample(skin_mask, camera, posed.vertices_camera)[..., 0]
    weights = weights * visible_vertices(face_model, reconstruction)
    harmonics = sh_basis(posed.normals)
    basis = face_model.albedo_basis.unflatten(1, (-1, 3))

    share = _INDEPENDENT_OBSERVATIONS / len(face_model.front_triangles)

    gammas, textures = [], []
    for item in range(len(old)):
        seen = weights[item] > 0.05
        if int(seen.sum()) < 100:  # nearly nothing of the face is visible skin
            gammas.append(old.gamma[item])
            textures.append(old.texture[item])
            continue
        observed, y = colours[item, seen], harmonics[item, seen]
        weight = share * weights[item, seen]
        mean = face_model.mean_albedo.unflatten(0, (-1, 3))[seen]
        texture = torch.zeros_like(old.texture[item])
        robust = weight
        light = torch.zeros(9, 3, dtype=y.dtype, device=y.device)
        for _ in range(rounds):
            albedo = mean + torch.einsum("k,knc->nc", texture, basis[:, seen])
            light = _solve_light(observed, albedo, y, robust)
            irradiance = y @ light
            texture = _solve_texture(
                observed - mean * irradiance,
                basis[:, seen] * irradiance,
                robust,
                face_model.albedo_sigma,
            )
            albedo = mean + torch.einsum("k,knc->nc", texture, basis[:, seen])
            residual = (albedo * irradiance - observed).norm(dim=-1)
            robust = weight / (1 + (residual / _ROBUST_SCALE).square())
        constant = torch.zeros_like(light)
        constant[0] = AMBIENT
        gammas.append((light - constant).T.flatten())
        textures.append(texture)
    return replace(old, gamma=torch.stack(gammas), texture=torch.stack(textures))


def visible_vertices(
    face_model: FaceModel, reconstruction: Reconstruction
) -> Bool[Tensor, "batch vertices"]:
    """Vertices of triangles that some pixel of the front-face region shows."""
    ids = reconstruction.rendering.fragments.triangle_id
    shown = torch.where(reconstruction.face_mask[:, 0] > 0, ids, -1)
    batch, count = ids.shape[0], face_model.triangles.shape[0]
    triangle_seen = torch.zeros(batch, count + 1, dtype=torch.bool, device=ids.device)
    # Empty pixels (-1) fall into a spare last column.
    triangle_seen.scatter_(1, shown.flatten(1).long() % (count + 1), True)
    seen = torch.zeros(batch, face_model.vertex_count, dtype=torch.bool, device=ids.device)
    for item in range(batch):
        corners = face_model.triangles[triangle_seen[item, :-1]].long()
        seen[item, corners.flatten()] = True
    return seen


def _sample(
    images: Float[Tensor, "batch channels height width"],
    camera: Camera,
    vertices_camera: Float[Tensor, "batch vertices 3"],
) -> Float[Tensor, "batch vertices channels"]:
    """Bilinear image values at the projections of vertices; zero outside."""
    size = images.new_tensor([images.shape[3], images.shape[2]])
    grid = camera.project(vertices_camera) / size * 2 - 1
    values = F.grid_sample(images, grid[:, :, None], align_corners=False)
    return values[..., 0].transpose(1, 2)


def _solve_light(observed: Tensor, albedo: Tensor, harmonics: Tensor, weights: Tensor) -> Tensor:
    """Ridge regression of the (9, 3) light; all three channels in one system of 27.

    The prior pulls each coefficient to the constant light with _LIGHT_SIGMA and the channels to
    their mean with _LIGHT_COLOUR_SIGMA.
    """
    scaled = harmonics[:, :, None] * albedo[:, None, :]  # (n, 9, 3)
    factor = weights / _NOISE**2
    normal = torch.einsum("n,nic,njc->cij", factor, scaled, scaled)
    right = torch.einsum("n,nic,nc->ci", factor, scaled, observed)
    system = torch.block_diag(*normal)
    eye = torch.eye(9, dtype=system.dtype, device=system.device)
    to_mean = torch.eye(3, dtype=system.dtype, device=system.device) - 1 / 3
    system = system + torch.kron(torch.eye(3, dtype=system.dtype, device=system.device), eye) / (
        _LIGHT_SIGMA**2
    )
    system = system + torch.kron(to_mean, eye) / _LIGHT_COLOUR_SIGMA**2
    prior = torch.zeros_like(right)
    prior[:, 0] = AMBIENT / _LIGHT_SIGMA**2
    solution = torch.linalg.solve(system, (right + prior).flatten())
    return solution.reshape(3, 9).T


def _solve_texture(observed: Tensor, basis: Tensor, weights: Tensor, sigma: Tensor) -> Tensor:
    """Ridge regression of texture coefficients; basis (Kt, n, 3) is lit already."""
    factor = weights / _NOISE**2
    rows = (basis * factor.sqrt()[:, None]).flatten(1)
    target = (observed * factor.sqrt()[:, None]).flatten()
    system = rows @ rows.T + torch.diag(1 / sigma.square())
    return torch.linalg.solve(system, rows @ target)
