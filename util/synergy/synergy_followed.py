"""A SynergyNet's face along a video as `FollowedFace`, from which its page and numbers are made.

As of photos (`util.synergy.synergy_reconstruction`), its camera is a weak one. Colours are the
video's, from key frames that show the head from as many sides as the video has.
"""

from __future__ import annotations

import numpy as np
import torch
from tqdm import tqdm

from data.video import VideoReader
from data.video_plan import choose_spread
from models.camera import rotation_angles
from models.face_model import FaceModel
from models.mouth import behind_lips
from models.parameters import ParameterLayout
from models.pixel_view import PixelView
from util.point_fits import nearest_rotation
from util.synergy.synergy_reconstruction import complete_colours, weak_camera
from util.synergy.synergy_track import SynergyTrack, landmarks_of, mesh_of
from util.synergy.synergy_trained import TrainedSynergy
from util.videos.followed_face import FollowedFace, PredictedFrames

KEY_FRAMES = 8
"""At most, from which the colours of the head are taken."""
_KEY_STEP_RAD = 0.05
"""Heads that are turned less from one another show the same."""


def followed_face(
    trained: TrainedSynergy,
    face_model: FaceModel | None,
    reader: VideoReader,
    raw: SynergyTrack,
    smooth: SynergyTrack,
    landmarks: np.ndarray,
) -> FollowedFace:
    """What the network says of a video.

    Args:
        trained: the network.
        face_model: the whole one, on the CPU; None where only numbers are wanted, for which a
            network needs no triangles. There are no colours then.
        reader: of the video, read once already; it is asked for the key frames.
        raw: as predicted.
        smooth: the same, calmer.
        landmarks: (N, L, 3) of that, as `landmarks_of` gives them.
    """
    known = trained.network.face
    layout = ParameterLayout.for_sizes(known.layout.shape, known.layout.expression, 1)
    if face_model is not None:
        layout = face_model.layout
    keys, colours = (), np.zeros((0, 3), np.float32)
    flat, scales = crop_coefficients(layout, smooth)
    if face_model is not None:
        keys = _key_frames(flat[:, layout.slices["angles_rad"]], smooth.found)
        colours = head_colours(trained, face_model, reader, smooth, keys)
    landmarks, before = (each[:, :68, :2] for each in (landmarks, landmarks_of(trained, raw)))
    return FollowedFace(
        info=reader.info,
        times_s=reader.times_s,
        found=smooth.found,
        coefficients=flat,
        tracked=crop_coefficients(layout, raw)[0],
        camera=weak_camera(trained.network.meaning.image_px),
        crops=smooth.crops,
        face_model=known.card if face_model is None else face_model.card,
        landmarks=smooth.given,
        starts=smooth.starts,
        photo=None,
        cuts=smooth.cuts,
        key_frames=keys,
        damage=reader.damage,
        predicted=PredictedFrames(
            scales=scales,
            landmarks=_index(landmarks, smooth.found),
            landmarks_tracked=_index(before, raw.found),
            colours=colours,
        ),
    )


def crop_coefficients(
    layout: ParameterLayout, track: SynergyTrack
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (N, P) of the face model, and pixels (N,) of the crops a decimetre.

    A pose M, of the frame with y down, is the scale S in pixels of the frame a decimetre times a
    matrix near a rotation; the head's origin lies at m. In a crop with the middle c and s pixels
    for one of the frame it lies at (p(m) - c) / (s S), y turned upwards, and at no depth. The face
    model's later bases, which the network does not use, have zeros; light and texture, which it
    does not know, NaN.
    """
    numbers = np.flatnonzero(track.found)
    flat = np.zeros((len(track.found), layout.size))
    scales = np.zeros(len(track.found))
    pose = track.poses(numbers)
    # Predicted rows have length 1 but need not be orthogonal.
    rotation = torch.from_numpy(nearest_rotation(pose.rotation.numpy()))
    flat[numbers, layout.slices["angles_rad"]] = rotation_angles(rotation).numpy()
    for block, values in (("identity", track.shapes), ("expression", track.expressions)):
        first = layout.slices[block].start
        flat[numbers, first : first + values.shape[1]] = values[numbers]
    for block in ("texture", "gamma"):
        flat[numbers, layout.slices[block]] = np.nan
    places = flat[:, layout.slices["translation_dm"]]
    for number, pixels_a_dm in zip(numbers.tolist(), pose.scale.tolist(), strict=True):
        crop = track.crop(number)
        scales[number] = pixels_a_dm * crop.scale
        away = crop.from_photo(track.shifts[number, :2]) - crop.crop_px / 2
        places[number, :2] = away * [1, -1] / scales[number]
    return flat.astype(np.float32), scales


def head_colours(
    trained: TrainedSynergy,
    face_model: FaceModel,
    reader: VideoReader,
    track: SynergyTrack,
    keys: tuple[int, ...],
) -> np.ndarray:
    """(V, 3) colours that the key frames show, those that face the camera most counting most."""
    view = PixelView(face_model.triangles.numpy(), face_model.vertex_count)
    albedo = face_model.mean_albedo.reshape(-1, 3).numpy()
    inside = behind_lips(face_model).numpy()  # what a video shows there are teeth
    sums, weights = np.zeros_like(albedo, np.float64), np.zeros(len(albedo))
    for frame in tqdm(reader.read(keys), total=len(keys), unit="frame", desc="colours"):
        mesh = mesh_of(trained, track, frame.number)
        colours, seen = view.colours_from(frame.image, mesh)
        weight = np.where(seen & ~inside, view.normals(mesh)[:, 2], 0)
        sums += weight[:, None] * colours
        weights += weight
    seen = weights > 0
    mean = sums / np.maximum(weights, 1e-9)[:, None]
    return complete_colours(mean, seen, albedo)


def _key_frames(angles_rad: np.ndarray, found: np.ndarray) -> tuple[int, ...]:
    """Frames whose heads, of angles (N, 3), are turned as differently as possible."""
    angles = np.where(found[:, None], angles_rad, np.nan)
    steps = np.round(angles / _KEY_STEP_RAD)
    away = np.linalg.norm(angles[:, :2], axis=1)
    return tuple(choose_spread(steps, KEY_FRAMES, away))


def _index(points: np.ndarray, found: np.ndarray) -> np.ndarray:
    """Continuous pixels as pixel indices; zeros without a face."""
    return np.where(found[:, None, None], points - 0.5, 0)
