"""The truth of synthetic pictures agrees with their pixels: rays, cast by the test itself."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from data.images import read_image, read_mask
from data.landmarks import read_landmarks
from data.synthetic.coefficients import SyntheticTruth, read_truth
from data.synthetic.generate import generate
from data.synthetic.maps import FACE_PARTS, Part, read_depth, read_normals, read_parts
from data.synthetic.photographer import Photographer
from data.synthetic.rendering import SceneRenderer
from data.synthetic.sampling import FaceSampler
from models.camera import Camera, rotation_matrix
from models.face_model import FaceModel
from models.lighting import light_coefficients, sh_basis
from models.renderer import Renderer
from models.stages import reconstruct
from options.synthesis_options import SynthesisOptions
from util.errors import InputError

COUNT = 4


@pytest.fixture(scope="module")
def face_model(open_face_data) -> FaceModel:
    return FaceModel(open_face_data)


@dataclass(frozen=True)
class Set:
    folder: Path
    truth: SyntheticTruth
    face_model: FaceModel

    def maps(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        stem = Path(self.truth.names[index]).stem
        return (
            read_parts(self.folder / f"parts/{stem}.png"),
            read_depth(self.folder / f"depth/{stem}.png"),
            read_normals(self.folder / f"normals/{stem}.png"),
        )

    def vertices_object(self, index: int) -> np.ndarray:
        parts = self.face_model.layout.split(torch.from_numpy(self.truth.coefficients[[index]]))
        vertices = self.face_model.shape(parts.identity, parts.expression)
        return vertices[0].detach().double().numpy()

    def vertices(self, index: int) -> np.ndarray:
        """In the camera's frame: x right, y down, z forwards."""
        rotation = self.truth.rotation[index].astype(float)
        return self.vertices_object(index) @ rotation.T + self.truth.translation_dm[index]


def make(folder: Path, face_model: FaceModel, **fields) -> Set:
    options = SynthesisOptions(
        n=COUNT, out=str(folder / "faces"), num_workers=0, maps="all", **fields
    )
    generate(options, face_model, list_root=folder, progress=False)
    return Set(folder / "faces", read_truth(folder / "faces/coefficients.npz"), face_model)


@pytest.fixture(scope="module", params=["rnet", "random"])
def plain(request, tmp_path_factory, face_model) -> Set:
    """The face model alone."""
    folder = tmp_path_factory.mktemp("plain")
    return make(folder, face_model, looks="plain", camera=request.param, size=160, seed=3)


@pytest.fixture(scope="module")
def full(tmp_path_factory, face_model) -> Set:
    return make(tmp_path_factory.mktemp("full"), face_model, seed=7)


def cast(origin_ray: np.ndarray, corners: np.ndarray) -> tuple[float, int, np.ndarray]:
    """Nearest hit of a ray from the camera: depth (inf without), triangle, barycentrics.

    Moeller and Trumbore (1997), for all triangles (F, 3, 3) at once.
    """
    a, b, c = corners[:, 0], corners[:, 1], corners[:, 2]
    one, two = b - a, c - a
    p = np.cross(origin_ray, two)
    determinant = (one * p).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = 1 / determinant
        u = (-a * p).sum(axis=1) * inverse
        q = np.cross(-a, one)
        v = (q @ origin_ray) * inverse
        t = (two * q).sum(axis=1) * inverse
        hit = (u >= 0) & (v >= 0) & (u + v <= 1) & (t > 0)
    t = np.where(hit, t, np.inf)
    nearest = int(t.argmin())
    weights = np.array([1 - u[nearest] - v[nearest], u[nearest], v[nearest]])
    return float(t[nearest] * origin_ray[2]), nearest, weights


def rays(truth: SyntheticTruth, index: int, points_px: np.ndarray) -> np.ndarray:
    """Through points of the picture (N, 2), with z = 1."""
    homogeneous = np.concatenate([points_px, np.ones((len(points_px), 1))], axis=1)
    return homogeneous @ np.linalg.inv(truth.intrinsics[index].astype(float)).T


def random_pixels(parts: np.ndarray, count: int) -> np.ndarray:
    """Rows and columns, half of them on the person."""
    random = np.random.default_rng(0)
    person = np.argwhere(parts != Part.BACKGROUND)
    anywhere = np.stack([random.integers(side, size=count // 2) for side in parts.shape], axis=1)
    return np.concatenate([person[random.integers(len(person), size=count // 2)], anywhere])


def test_pose_and_intrinsics_project_the_landmarks(plain) -> None:
    """K (R x + t), written out, on the landmarks of the decoded face."""
    for index in range(COUNT):
        vertices = torch.from_numpy(plain.vertices_object(index)).float()[None]
        yaw = torch.from_numpy(plain.truth.coefficients[index : index + 1, 225])
        points = plain.face_model.landmarks(vertices, yaw)[0].double().numpy()
        rotation, shift = plain.truth.rotation[index], plain.truth.translation_dm[index]
        camera = points @ rotation.T + shift
        projected = camera @ plain.truth.intrinsics[index].T
        projected = projected[:, :2] / projected[:, 2:]
        np.testing.assert_allclose(projected, plain.truth.landmarks_px[index], atol=0.01)
        stem = Path(plain.truth.names[index]).stem
        in_file = read_landmarks(plain.folder / f"landmarks/{stem}.txt")
        np.testing.assert_allclose(in_file + 0.5, projected, atol=0.01)
        picture = read_image(plain.folder / plain.truth.names[index])
        assert picture.shape[1::-1] == tuple(plain.truth.size_px[index])


def test_maps_are_what_rays_hit(plain) -> None:
    """Mask, depth and normals at random pixels' centres."""
    triangles = plain.face_model.triangles.numpy()
    wrong, checked = 0, 0
    for index in range(COUNT):
        parts, depth, normals = plain.maps(index)
        vertices = plain.vertices(index)
        corners = vertices[triangles]
        rotation = rotation_matrix(torch.from_numpy(plain.truth.coefficients[[index], 224:227]))
        shape = torch.from_numpy(plain.vertices_object(index)).float()[None]
        true_normals = (plain.face_model.normals(shape)[0] @ rotation[0].T).numpy()
        pixels = random_pixels(parts, 60)
        for (row, column), ray in zip(
            pixels, rays(plain.truth, index, pixels[:, ::-1] + 0.5), strict=True
        ):
            distance, triangle, weights = cast(ray, corners)
            checked += 1
            if np.isinf(distance) != (parts[row, column] == Part.BACKGROUND):
                wrong += 1  # on an edge, which rasterisers place to 1/16 pixel
                continue
            if np.isinf(distance):
                assert depth[row, column] == 0 and not normals[row, column].any()
                continue
            assert parts[row, column] in FACE_PARTS
            if abs(depth[row, column] - distance) > 2e-3:
                wrong += 1  # on an edge between near and far
                continue
            expected = weights @ true_normals[triangles[triangle]]
            expected /= np.linalg.norm(expected)
            assert expected @ normals[row, column] > 0.99
    assert wrong <= 0.02 * checked


def test_depth_of_whole_scenes_is_that_of_their_skin(full) -> None:
    """Where skin is seen nothing is in front, and the depth is the face's."""
    triangles = full.face_model.triangles.numpy()
    agree = []
    for index in range(COUNT):
        parts, depth, _ = full.maps(index)
        skin = np.argwhere(parts == Part.SKIN)
        skin = skin[np.random.default_rng(1).integers(len(skin), size=25)]
        corners = full.vertices(index)[triangles]
        for (row, column), ray in zip(
            skin, rays(full.truth, index, skin[:, ::-1] + 0.5), strict=True
        ):
            agree.append(abs(cast(ray, corners)[0] - depth[row, column]) < 2e-3)
    assert np.mean(agree) > 0.97


def test_parts_agree_with_the_mask(full) -> None:
    for index in range(COUNT):
        parts, _, _ = full.maps(index)
        stem = Path(full.truth.names[index]).stem
        mask = read_mask(full.folder / f"mask/{stem}.png") > 0
        skin = parts == Part.SKIN
        assert (mask & skin).sum() > 0.96 * (mask | skin).sum()
        assert not mask[parts >= Part.OCCLUDER].any()


def test_landmarks_are_visible_where_rays_reach_them(plain) -> None:
    triangles = plain.face_model.triangles.numpy()
    agree, hidden = [], 0
    for index in range(COUNT):
        vertices = plain.vertices(index)
        corners = vertices[triangles]
        embedded = torch.from_numpy(vertices).float()[None]
        depths = plain.face_model.landmarks(embedded)[0, :, 2].numpy()
        points = plain.truth.landmarks_px[index]
        inside = ((points >= 0) & (points < plain.truth.size_px[index])).all(axis=1)
        for number, ray in enumerate(rays(plain.truth, index, points)):
            in_front = depths[number] - cast(ray, corners)[0]
            if inside[number] and 0.02 < in_front < 0.1:
                continue  # neither clearly hidden nor clearly not
            agree.append((in_front < 0.06 and inside[number]) == plain.truth.visible[index, number])
            hidden += in_front > 0.1
    assert np.mean(agree) > 0.97
    assert hidden > 0


def test_plain_pictures_are_the_models_own_rendering(face_model, tmp_path) -> None:
    made = make(tmp_path, face_model, looks="plain", seed=5)
    coefficients = face_model.layout.split(torch.from_numpy(made.truth.coefficients))
    with torch.no_grad():
        again = reconstruct(face_model, Renderer(), Camera.rnet(), coefficients)
    assert again.rendering.image is not None
    for index, name in enumerate(made.truth.names):
        picture = read_image(made.folder / name) / 255
        rendered = again.rendering.image[index].permute(1, 2, 0).clamp(0, 1).numpy()
        skin = read_mask(made.folder / f"mask/{Path(name).stem}.png") > 0
        assert np.abs(picture - rendered)[skin].mean() < 0.015


def test_light_in_the_coefficients_explains_the_shaded_skin(face_model) -> None:
    """Better than the environment's own, which knows no shadows."""
    drawn = FaceSampler(face_model).sample(1, range(8))
    renderer = SceneRenderer(face_model)
    parts = face_model.layout.split(torch.from_numpy(drawn.coefficients))
    with torch.no_grad():
        posed = reconstruct(face_model, Renderer(), Camera.rnet(), parts).posed
        light = (sh_basis(posed.normals) @ light_coefficients(parts.gamma)).clamp(min=0).numpy()
        open_light = light.copy()
        around = np.zeros((8, len(renderer.builder.border) * 20, 3), np.float32)
        shaded = np.concatenate([light, around], axis=1)
        gammas = renderer._shade(shaded, drawn, parts, posed.normals.numpy())
        shaded = shaded[:, : face_model.vertex_count]
        fitted = (sh_basis(posed.normals) @ light_coefficients(torch.from_numpy(gammas))).numpy()
    seen = (posed.normals[..., 2].numpy() > 0.3) & (face_model.skin_mask.numpy() > 0.5)
    for item in range(8):
        ours = (fitted - shaded)[item][seen[item]]
        before = (open_light - shaded)[item][seen[item]]
        # As bright as the shaded face, where the open light is too bright; and nearer everywhere.
        assert abs(ours.mean()) < 0.01 < before.mean()
        assert np.square(ours).mean() < np.square(before).mean()
        assert np.abs(ours).mean() < 0.06


def test_pictures_of_any_size_show_the_same_face(face_model) -> None:
    """Twice the pixels: twice the landmarks, the same coefficients."""
    one = Photographer(face_model, looks="plain").take(4, [2])[0]
    two = Photographer(face_model, looks="plain", size_px=448).take(4, [2])[0]
    assert two.photograph.picture.shape == (448, 448, 3)
    np.testing.assert_array_equal(one.coefficients, two.coefficients)
    np.testing.assert_allclose(2 * one.landmarks_px, two.landmarks_px, atol=1e-3)


def test_maps_that_are_missing_or_damaged_are_named(tmp_path) -> None:
    with pytest.raises(InputError, match=r"a\.png does not exist; .*--maps"):
        read_parts(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"a\.png cannot be read"):
        read_depth(tmp_path / "a.png")


def test_teeth_do_not_come_through_the_chin(face_model: FaceModel):
    """Four faces whose lips are shut and whose chin lies deeper than they do."""
    numbers = [245, 608, 757, 851]
    drawn = FaceSampler(face_model).sample(5, numbers)
    faces = SceneRenderer(face_model, surfaces=True).render(drawn, 5, numbers)
    for face in faces:
        assert face.surface is not None and not (face.surface.parts == Part.TEETH).any()
