"""Draw on batches of pictures: small, vectorised, for logs and results."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel
from models.landmarks import from_index, to_index
from models.mouth import MouthScreen, behind_lips
from models.parameters import Coefficients
from models.renderer import Renderer, Rendering
from models.stages import Reconstruction, pose_face, shape_face
from models.texture import corner_coordinates, sample_texture
from options.face_options import LandmarkOrigin

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def over_photos(
    face_model: FaceModel, photos: Float[Tensor, "batch 3 height width"], rendering: Rendering
) -> Float[Tensor, "batch 3 height width"]:
    """The rendering, and the photos where nothing is rendered or the inside of the mouth is."""
    assert rendering.image is not None
    inside = behind_lips(face_model).to(photos.device)[face_model.triangles.long()].any(dim=1)
    ids = rendering.fragments.triangle_id.long()
    drawn = (ids >= 0) & ~inside[ids]
    return torch.where(drawn[:, None], rendering.image.clamp(0, 1), photos)


def side_by_side(
    face_model: FaceModel,
    photos: Float[Tensor, "batch 3 height width"],
    reconstruction: Reconstruction,
    given_px: Float[Tensor, "batch points 2"] | None,
    origin: LandmarkOrigin,
) -> Float[Tensor, "batch 3 height wide"]:
    """Photo | reconstruction over the photo | the same with landmarks.

    Args:
        face_model: of the reconstruction.
        photos: RGB in [0, 1].
        reconstruction: of them.
        given_px: given landmarks, drawn in blue under the predicted ones in red.
        origin: of both.
    """
    overlay = marked = over_photos(face_model, photos, reconstruction.rendering)
    for points, colour in ((given_px, BLUE), (reconstruction.posed.landmarks_px, RED)):
        if points is not None:
            # Whatever the origin, a dot belongs on the pixel that its index names.
            exact = from_index(to_index(points, origin), "centre")
            marked = draw_landmarks(marked, exact, colour)
    return torch.cat([photos, overlay, marked], dim=3)


VIEW_YAWS_DEG = (-40.0, 0.0, 40.0)
"""From which `turned_views` and `textured_views` show a face."""


def with_mouths_of_photos(
    face_model: FaceModel,
    renderer: Renderer,
    camera: Camera,
    photos: Float[Tensor, "batch 3 height width"],
    reconstruction: Reconstruction,
    screen: MouthScreen | None,
) -> Float[Tensor, "batch vertices 3"]:
    """The lit colours of the vertices, and the photos' of those behind the lips.

    No face model here has teeth, so that a smile would be a dark hole without. What photos do not
    show goes on from what they do, edge by edge of the mesh.

    Args:
        face_model: of the reconstruction.
        renderer: draws.
        camera: that sees the photos.
        photos: RGB in [0, 1].
        reconstruction: of them.
        screen: in place of the inside of the mouth; None, where the face model has none, leaves
            all as it is.
    """
    if screen is None:
        return reconstruction.posed.colours
    screened = screen(reconstruction.shaped)
    vertices = pose_face(face_model, screened, reconstruction.coefficients, camera).vertices_camera
    seen = renderer(vertices, face_model.triangles, camera).fragments
    inside = behind_lips(face_model).to(photos.device)[:, None]
    triangles = face_model.triangles.long()
    is_lining = inside[triangles, 0].all(dim=1)
    lining = triangles[is_lining]
    a, b = lining.flatten(), lining[:, [1, 2, 0]].flatten()
    made = []
    for photo, own, ids, weights in zip(
        photos,
        reconstruction.posed.colours,
        seen.triangle_id.long(),
        seen.barycentrics,
        strict=True,
    ):
        covered = (ids >= 0) & is_lining[ids]  # at the rim a photo shows lips
        corners, shares = triangles[ids[covered]].flatten(), weights[covered].reshape(-1, 1)
        pixels = photo[:, covered].T.repeat_interleave(3, dim=0)
        weight = torch.zeros_like(own[:, :1]).index_add(0, corners, shares)
        colour = torch.zeros_like(own).index_add(0, corners, shares * pixels)
        known, before = (weight > 0) & inside, -1
        while (count := int(known.sum())) > before:
            before = count
            colour = torch.where(known, colour / weight.clamp(min=1e-9), 0.0)
            shares = known.to(own.dtype)
            weight = torch.where(known, 1.0, torch.zeros_like(shares).index_add(0, b, shares[a]))
            colour = torch.where(known, colour, torch.zeros_like(own).index_add(0, b, colour[a]))
            known = (weight > 0) & inside
        made.append(torch.where(inside & (weight > 0), colour / weight.clamp(min=1e-9), own))
    return torch.stack(made)


def turned_views(
    face_model: FaceModel,
    renderer: Renderer,
    camera: Camera,
    coefficients: Coefficients,
    colours: Float[Tensor, "batch vertices 3"],
    screen: MouthScreen | None,
) -> Float[Tensor, "batch 3 height wide"]:
    """The faces alone, beside each other: turned to one side, front, other.

    Pose and place in the photo are left out, so that shapes can be compared.

    Args:
        face_model: of the coefficients.
        renderer: draws.
        camera: of the crops.
        coefficients: of the faces.
        colours: of their vertices. The light of the photo turns with them, as if the camera went
            around: a likeness.
        screen: in place of the inside of the mouth, if the face model has one.
    """
    shaped = shape_face(face_model, coefficients)
    shaped = shaped if screen is None else screen(shaped)
    pictures = []
    for yaw_deg in VIEW_YAWS_DEG:
        angles = torch.zeros_like(coefficients.angles_rad)
        angles[:, 1] = math.radians(yaw_deg)
        centred = torch.zeros_like(coefficients.translation_dm)
        turned = replace(coefficients, angles_rad=angles, translation_dm=centred)
        posed = pose_face(face_model, shaped, turned, camera)
        made = renderer(posed.vertices_camera, face_model.triangles, camera, colours)
        assert made.image is not None
        pictures.append(torch.where(made.mask > 0, made.image.clamp(0, 1), 1.0))
    return torch.cat(pictures, dim=3)


def textured_views(
    vertices_dm: Float[Tensor, "vertices 3"],
    triangles: Int[Tensor, "faces 3"],
    uv: Float[Tensor, "corners 2"],
    uv_triangles: Int[Tensor, "faces 3"],
    texture: Float[Tensor, "1 3 rows columns"],
    renderer: Renderer,
    camera: Camera,
) -> Float[Tensor, "1 3 height wide"]:
    """A head that bears a texture, beside each other: turned to one side, front, other.

    Args:
        vertices_dm: in the head's own frame, upright and facing the camera.
        triangles: indices into them.
        uv: texture coordinates in [0, 1], origin bottom left.
        uv_triangles: the same triangles as indices into these.
        texture: RGB in [0, 1], its first row at v = 1.
        renderer: draws, on the device of all these.
        camera: one that stands before the head.

    Returns:
        RGB in [0, 1] before white, smooth along the outline.
    """
    width, height = camera.width, camera.height
    twice = vertices_dm.new_full((1, 2), 2.0)
    double = camera.regrid(twice, torch.zeros_like(twice), (2 * width, 2 * height))
    pictures = []
    for yaw_deg in VIEW_YAWS_DEG:
        angles = vertices_dm.new_tensor([[0.0, math.radians(yaw_deg), 0.0]])
        turned = double.from_object(rotate(vertices_dm[None], rotation_matrix(angles)))
        seen = renderer(turned, triangles, double).fragments
        place = corner_coordinates(uv, uv_triangles, seen.triangle_id, seen.barycentrics)
        colours = sample_texture(texture, place).clamp(0, 1)
        colours = torch.where(seen.covered[..., None], colours, 1.0)
        pictures.append(F.avg_pool2d(colours.permute(0, 3, 1, 2), 2))
    return torch.cat(pictures, dim=3)


def draw_landmarks(
    images: Float[Tensor, "batch 3 height width"],
    landmarks_px: Float[Tensor, "batch points 2"],
    colour: tuple[float, float, float],
    radius: int = 1,
) -> Float[Tensor, "batch 3 height width"]:
    """Draw a square dot of side 2 radius + 1 centred on the pixel that each landmark lies in.

    Args:
        images: RGB in [0, 1]; not changed.
        landmarks_px: continuous pixels, y down; those outside are left out.
        colour: RGB in [0, 1].
        radius: pixels on each side of the centre.
    """
    batch, _, height, width = images.shape
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    grid = torch.stack(torch.meshgrid(offsets, offsets, indexing="xy"), dim=-1).reshape(-1, 2)
    pixels = landmarks_px.floor().long()[:, :, None] + grid
    x, y = pixels.flatten(1, 2).unbind(-1)
    item = torch.arange(batch, device=images.device)[:, None].expand_as(x)
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
    drawn = images.clone()
    dot = images.new_tensor(colour)
    drawn.permute(0, 2, 3, 1)[item[inside], y[inside], x[inside]] = dot
    return drawn
