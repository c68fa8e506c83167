"""Textures from photos, of faces drawn with a texture that is known."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation, distance_transform_edt, median_filter

from models.camera import Camera, rotate, rotation_matrix
from models.face_model import FaceModel, FaceModelData
from models.lighting import irradiance
from models.mouth import behind_lips
from models.photo_texture import PhotoTexture
from models.renderer import Renderer
from models.texel_sight import PhotoView
from models.texture import corner_coordinates, sample_texture
from util.assets import OPEN_FACE_MODEL
from util.model_files.face_model_file import read_face_model

SIZE = 256
YAW = 0.45
"""Towards the left of the image, in which much of one side of the face is hidden."""


@lru_cache(maxsize=1)
def coarse_model() -> FaceModel:
    return FaceModel(read_face_model(OPEN_FACE_MODEL, 0))


@lru_cache(maxsize=1)
def maker() -> PhotoTexture:
    return PhotoTexture(coarse_model(), SIZE)


def true_texture() -> torch.Tensor:
    """(1, 3, H, W) symmetric about the middle, unlike the model's own albedo."""
    v, u = torch.meshgrid(torch.linspace(0, 1, SIZE), torch.linspace(0, 1, SIZE), indexing="ij")
    across = (u - 0.5).abs()
    red = 0.6 + 0.06 * torch.cos(14 * across) * torch.sin(11 * v)
    green = 0.45 + 0.04 * torch.sin(17 * across + 9 * v)
    blue = 0.37 + 0.04 * torch.cos(21 * v)
    return torch.stack([red, green, blue])[None]


def light(side: float = 0.0) -> torch.Tensor:
    """Somewhat coloured, from the front and one side."""
    gamma = torch.zeros(1, 3, 9)
    gamma[:, :, 0] = 0.05
    gamma[:, :, 2] = 0.12
    gamma[:, :, 3] = side
    gamma[:, 0, 0] += 0.03
    return gamma.reshape(1, 27)


def photographed(
    yaw: float,
    texture: torch.Tensor | None = None,
    gamma: torch.Tensor | None = None,
    **units: float,
) -> PhotoView:
    """A photo of the mean face, with an expression, in front of bright green."""
    model, gamma = coarse_model(), light() if gamma is None else gamma
    shape = model.shape(model.layout.zeros(1).identity, model.units(units))
    vertices = rotate(shape, rotation_matrix(torch.tensor([[0.0, yaw, 0.0]])))
    camera = Camera.rnet().regrid(torch.full((1, 2), 2.0), torch.tensor([[30.0, 8.0]]), (520, 470))
    made = Renderer()(camera.from_object(vertices), model.triangles, camera)
    assert model.uv is not None and model.uv_triangles is not None
    parts = made.fragments.triangle_id, made.fragments.barycentrics
    uv = corner_coordinates(model.uv, model.uv_triangles, *parts)
    colour = sample_texture(true_texture() if texture is None else texture, uv)
    shown = model.triangles.long()[parts[0].long().clamp_min(0)]
    lit = irradiance(model.normals(vertices), gamma)[0][shown]
    colour = colour * (parts[1][..., None] * lit).sum(dim=-2)
    colour = torch.where(made.fragments.covered[..., None], colour, torch.tensor([0.0, 1.0, 0.2]))
    photo = (255 * colour[0].clamp(0, 1)).round().byte().numpy()
    return PhotoView(photo, camera.to(torch.float64), vertices[0].numpy(), gamma)


def made(*views: PhotoView, keep_light: bool = False) -> np.ndarray:
    texture = torch.zeros(1, len(coarse_model().albedo_sigma))
    return maker()(views, texture, keep_light=keep_light) / 255.0


def truth() -> np.ndarray:
    return true_texture()[0].permute(1, 2, 0).numpy()


def skin() -> np.ndarray:
    """Texels of the face itself: not eyes, lids and the inside of the mouth, not its border."""
    rows, columns = np.mgrid[:SIZE, :SIZE] / SIZE
    inside = (np.abs(columns - 0.5) < 0.27) & (rows > 0.28) & (rows < 0.84)
    eyes = (np.abs(rows - 0.43) < 0.05) & (np.abs(np.abs(columns - 0.5) - 0.12) < 0.07)
    mouth = (np.abs(rows - 0.715) < 0.05) & (np.abs(columns - 0.5) < 0.12)
    nostrils = (np.abs(rows - 0.6) < 0.04) & (np.abs(columns - 0.5) < 0.08)
    return inside & ~eyes & ~mouth & ~nostrils


def weights(view: PhotoView) -> np.ndarray:
    picture = maker().surface.picture(maker().observe(view).weight[:, None])
    return picture[..., 0]


def test_what_is_seen_has_the_albedo_that_was_drawn():
    view = photographed(0.0, gamma=light(0.1))
    seen = skin() & (weights(view) > 0.95)
    assert seen.sum() > 0.5 * skin().sum()
    error = np.abs(made(view) - truth())[seen]
    assert error.mean() < 0.02 and np.quantile(error, 0.95) < 0.05


def test_light_that_is_kept_is_the_photo():
    """Where the photo shows the face, albedo times irradiance is what it shows."""
    view = photographed(0.0, gamma=light(0.1))
    mean, model = coarse_model().mean_shape.reshape(1, -1, 3), coarse_model()
    lit = irradiance(model.normals(mean), light(0.1))[0].numpy()
    texel_light = maker().surface.picture(maker().surface.at_texels(lit))
    seen = skin() & (weights(view) > 0.95)
    error = np.abs(made(view, keep_light=True) - truth() * texel_light)[seen]
    assert error.mean() < 0.015


def test_the_hidden_side_comes_from_symmetry():
    view = photographed(YAW)
    hidden = skin() & (weights(view) == 0)
    assert hidden.sum() > 0.15 * skin().sum()
    error = np.abs(made(view) - truth()).mean(axis=2)
    alone = PhotoTexture(coarse_model(), SIZE)
    alone.surface.mirror = None
    model_only = alone([view], torch.zeros(1, len(coarse_model().albedo_sigma)), keep_light=False)
    without = np.abs(model_only / 255.0 - truth()).mean(axis=2)
    assert error[hidden].mean() < 0.045
    assert error[hidden].mean() < 0.6 * without[hidden].mean()


def test_no_background_and_no_edge():
    """Bright green lies around the face; neighbouring texels differ no more than in the truth."""
    made_up, true = made(photographed(YAW)), truth()
    inside = skin()
    green = made_up[..., 1] - made_up[..., 0]
    assert (green[inside] - (true[..., 1] - true[..., 0])[inside]).max() < 0.12
    for axis in (0, 1):
        pairs = inside & np.roll(inside, -1, axis)
        steps = np.abs(np.roll(made_up, -1, axis) - made_up).max(axis=2)[pairs]
        usual = np.abs(np.roll(true, -1, axis) - true).max(axis=2)[pairs]
        assert steps.max() < usual.max() + 0.09


def test_weights_fall_as_the_surface_turns_away():
    """And nothing is taken from where another part of the mesh stands in front."""
    smaller = [weights(photographed(yaw)) for yaw in (0.0, 0.3, 0.6, 0.9)]
    side = np.zeros((SIZE, SIZE), bool)
    side[:, : SIZE // 2] = skin()[:, : SIZE // 2]
    far = min((side, side[:, ::-1]), key=lambda half: smaller[2][half].mean())
    means = [float(weight[far].mean()) for weight in smaller]
    assert means == sorted(means, reverse=True) and means[-1] < 0.1 < 0.6 < means[0]
    assert all(((weight >= 0) & (weight <= 1)).all() for weight in smaller)


def lips() -> np.ndarray:
    """(H, W) texels of the lips, not of what lies behind them."""
    model = coarse_model()
    vertices = model.regions["lips"] & ~model.regions["mouth_cavity"]
    inside = maker().surface.inside(vertices.numpy())
    return maker().surface.picture(inside[:, None])[..., 0]


def skin_around_mouth() -> np.ndarray:
    """(H, W) texels beside the corners of the mouth."""
    rows, columns = np.nonzero(lips())
    around = np.zeros((SIZE, SIZE), bool)
    around[rows.min() : rows.max()] = True
    around[:, columns.min() + 3 : columns.max() - 3] = False
    return around & ~lips()


def own_texture() -> np.ndarray:
    """(H, W, 3) the model's own, with lips as red as lips are."""
    own = maker().model_albedo(torch.zeros(1, len(coarse_model().albedo_sigma)))
    return maker().surface.picture(own.astype(np.float32)).clip(0, 1)


def drawn(texture: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(texture).permute(2, 0, 1)[None].float()


def middle_of_lips() -> np.ndarray:
    """The third of the lips at the opening of the mouth, across their whole width."""
    texels = lips()
    ring = maker().surface.inside(coarse_model().regions["mouth_ring"].numpy())
    seam = maker().surface.picture(ring[:, None])[..., 0]
    away = np.asarray(distance_transform_edt(~seam))
    return texels & (away < np.quantile(away[texels], 0.3))


def test_teeth_go_on_inside_of_the_mouth():
    """Most of it is hidden by the lips, and would be a dark hole when the face turns."""
    inside = maker().surface.inside(behind_lips(coarse_model()).numpy())
    inside = maker().surface.picture(inside[:, None])[..., 0]
    with_teeth = own_texture().copy()
    with_teeth[inside] = [0.85, 0.8, 0.72]
    view = photographed(0.0, drawn(with_teeth), jawOpen=0.35)
    found, hidden = made(view), inside & (weights(view) == 0)
    assert hidden.sum() > 0.4 * inside.sum()
    near = np.abs(found - with_teeth)[hidden].max(axis=1) < 0.3
    assert near.mean() > 0.6
    closed = made(photographed(0.0, drawn(own_texture())))
    assert np.abs(closed - own_texture())[inside].max(axis=1).mean() < 0.1


def test_teeth_that_the_photo_shows_where_lips_should_be_are_not_taken():
    """A fit whose mouth is less open than the photo's: lips at the opening show teeth."""
    own, there = own_texture(), middle_of_lips()
    with_teeth = own.copy()
    with_teeth[there] = [0.85, 0.8, 0.72]
    found = made(photographed(0.0, drawn(with_teeth)))
    error = np.abs(found - own)[there].max(axis=1)
    assert np.abs(with_teeth - own)[there].max(axis=1).mean() > 0.25
    assert error.mean() < 0.05 and np.quantile(error, 0.95) < 0.12


def test_lips_in_a_colour_of_their_own_keep_it():
    """Lipstick is no tooth: all of it is of one colour, and redder than the model's."""
    own, there = own_texture(), lips()
    painted = own.copy()
    painted[there] = own[there] * [1.0, 0.6, 0.75]
    view = photographed(0.0, drawn(painted))
    seen = there & (weights(view) > 0.95)
    assert seen.sum() > 0.3 * there.sum()
    assert np.abs(made(view) - painted)[seen].mean() < 0.03


def test_lips_that_the_photo_shows_beside_the_mouth_are_not_taken():
    """A fit whose mouth is narrower than the photo's."""
    own, there = own_texture(), lips()
    beside = binary_dilation(there, iterations=4) & skin_around_mouth()
    wide = own.copy()
    wide[there | beside] *= [1.0, 0.6, 0.75]
    error = np.abs(made(photographed(0.0, drawn(wide))) - own)[beside].max(axis=1)
    assert error.mean() < 0.5 * np.abs(wide - own)[beside].max(axis=1).mean()


def test_what_is_on_one_side_only_is_not_mirrored():
    """A dark spot on the seen cheek: there it stays, and the hidden cheek has none."""
    plain = own_texture()
    view = photographed(YAW, drawn(plain))
    shown = weights(view)
    spot = np.zeros((SIZE, SIZE), bool)
    spot[140:150, 52:62] = True
    if shown[:, : SIZE // 2].sum() < shown[:, SIZE // 2 :].sum():
        spot = spot[:, ::-1]
    with_spot = plain.copy()
    with_spot[spot] *= 0.45
    other = spot[:, ::-1]
    assert shown[spot].min() > 0.4 and shown[other].max() < 0.3
    found, without = (made(photographed(YAW, drawn(one))) for one in (with_spot, plain))
    assert np.abs(found - without)[spot].max() > 0.15
    assert np.abs(found - without)[other].max() < 0.08


def forehead() -> np.ndarray:
    """(H, W) texels above the brows, up to the border of the mesh."""
    brows = coarse_model().regions["brows"].numpy()
    rows = np.nonzero(maker().surface.picture(maker().surface.inside(brows)[:, None])[..., 0])[0]
    found = skin()
    found[rows.min() - 8 :] = False
    return found


@pytest.mark.parametrize(
    "hair", [[0.1, 0.07, 0.05], [0.95, 0.85, 0.45], [0.35, 0.5, 0.8]], ids=["dark", "fair", "cap"]
)
def test_hair_over_the_forehead_is_not_taken_for_skin(hair: list[float]):
    """It comes from beyond the face, over two thirds of its width, and leaves the rest alone."""
    own, there = own_texture(), forehead()
    there[:, : SIZE // 2 - 20] = False
    covered = own.copy()
    covered[there] = hair
    found = made(photographed(0.0, drawn(covered)))
    assert np.abs(covered - own)[there].mean() > 0.15
    assert np.abs(found - own)[there].mean() < 0.05
    beside = skin() & ~forehead() & (weights(photographed(0.0)) > 0.95)
    assert np.abs(found - own)[beside].mean() < 0.02


def test_dark_skin_beards_and_brows_are_no_hair_over_the_face():
    """All of them stay as the photo shows them."""
    own = own_texture()
    regions = coarse_model().regions
    beard = maker().surface.inside((regions["beard"] & ~regions["border"]).numpy())
    bearded = own * [0.35, 0.3, 0.27]
    there = maker().surface.picture(beard[:, None])[..., 0] & ~lips()
    bearded[there] *= 0.4
    view = photographed(0.0, drawn(bearded), light(0.0) * 2)
    seen = weights(view) > 0.95
    found = made(view)
    for part in (forehead(), there & skin()):
        assert (part & seen).sum() > 200
        assert np.abs(found - bearded)[part & seen].mean() < 0.03


def test_the_seam_of_a_closed_mouth_has_no_texels_of_its_own():
    """Behind it lips go on in the photo's colour, which is not the model's."""
    own, there = own_texture(), lips()
    painted = own.copy()
    painted[there] *= [1.0, 0.5, 0.6]
    view = photographed(0.0, drawn(painted))
    found = made(view)
    behind = (
        there
        & (weights(view) < 0.05)
        & np.asarray(binary_dilation(weights(view) > 0.5, iterations=3), bool)
    )
    assert behind.sum() > 10
    assert np.abs(found - painted)[behind].mean() < 0.7 * np.abs(own - painted)[behind].mean()
    alone = np.abs(found - median_filter(found, (3, 3, 1))).max(axis=2)
    usual = np.abs(painted - median_filter(painted, (3, 3, 1))).max(axis=2)
    assert alone[there].max() < usual[there].max() + 0.05


def test_skin_ends_in_no_edge_at_the_scalp():
    """Steps between texels beside each other, also where the model's own albedo has one."""
    scalp = maker().surface.inside(coarse_model().regions["scalp"].numpy())
    around = maker().surface.picture(scalp[:, None])[..., 0]
    around = np.asarray(binary_dilation(around, iterations=6), bool) & (
        np.mgrid[:SIZE, :SIZE][0] > 0.24 * SIZE
    )
    steps = [
        np.abs(np.diff(one, axis=1)).max(axis=2)[around[:, 1:] & around[:, :-1]]
        for one in (made(photographed(0.0, drawn(own_texture()))), own_texture())
    ]
    assert steps[1].max() > 0.04 and steps[0].max() < 0.025


def test_depths_within_a_part_are_distances():
    """Those of SciPy as far as they are asked for, and beyond that larger."""
    surface = maker().surface
    part = np.random.default_rng(0).random(len(surface.texels)) > 0.02
    beyond = np.zeros(SIZE * SIZE, bool)
    beyond[surface.texels[~part]] = True
    wanted = np.asarray(distance_transform_edt(~beyond.reshape(SIZE, SIZE)))
    wanted = wanted.reshape(-1)[surface.texels]
    for most in (3.0, 40.0):
        found = surface.depth_within(part, most)
        near = wanted <= most
        np.testing.assert_allclose(found[near], wanted[near], rtol=1e-6)
        assert (found[~near] > most).all()


def test_photos_of_both_sides_show_more_than_one():
    """Of an asymmetric face, whose hidden side only another photo tells."""
    columns = torch.linspace(0, 1, SIZE)[None, None, None]
    texture = (true_texture() + 0.05 * torch.tanh(12 * (columns - 0.5))).clamp(0, 1)
    views = [photographed(yaw, texture, light(side)) for yaw, side in ((YAW, 0.06), (-YAW, -0.06))]
    true = texture[0].permute(1, 2, 0).numpy()
    one = np.abs(made(views[0]) - true)[skin()].mean()
    both = np.abs(made(*views) - true)[skin()].mean()
    assert both < 0.02 and both < 0.8 * one


def test_a_photo_that_shows_nothing_leaves_the_model():
    view = photographed(0.0)
    away = replace(view, vertices_object=view.vertices_object + np.array([9, 0, 0], np.float32))
    face = skin() & (np.mgrid[:SIZE, :SIZE][0] > 0.42 * SIZE)  # above it the scalp is softened
    np.testing.assert_allclose(made(away)[face], own_texture()[face], atol=3 / 255)


def test_the_underside_of_the_nose_is_not_grainy(monkeypatch: pytest.MonkeyPatch):
    """Where nothing is seen, the model's pores are left out there; what is larger is not."""
    view, own, model = photographed(0.0), maker(), coarse_model()
    away = replace(view, vertices_object=view.vertices_object + np.array([9, 0, 0], np.float32))
    mean = model.mean_shape.reshape(-1, 3)
    base = mean[model.landmark_embedding.vertices[31:36]].mean(dim=(0, 1)).numpy()
    place = own.surface.at_texels(mean.numpy()) - base
    facing = own.surface.at_texels(model.normals(mean[None])[0].numpy())[:, 1]
    under = (np.linalg.norm(place, axis=1) < 0.17) & (facing < -0.1)
    right = np.where(place[:, :1] > 0, 0.1, 0).astype(np.float32)
    grain = 0.05 * np.random.default_rng(0).normal(size=(len(place), 1)).astype(np.float32)
    drawn = np.tile(0.5 + grain + right, (1, 3))
    monkeypatch.setattr(own, "model_albedo", lambda _: drawn)
    texture = torch.zeros(1, len(model.albedo_sigma))
    made_up = own.surface.of_picture(own([away], texture, keep_light=False) / 255.0)[:, 0]
    left = made_up - 0.5 - right[:, 0]
    outer = np.abs(place[:, 0]) > 0.03
    assert (under & outer).sum() > 20 and left[under & outer].std() < 0.025
    on_right = (made_up[under & outer & (place[:, 0] > 0)]).mean()
    assert on_right - made_up[under & outer & (place[:, 0] < 0)].mean() > 0.07
    cheek = (np.abs(place[:, 0]) > 0.3) & (np.abs(place[:, 1]) < 0.2) & (place[:, 2] > -0.4)
    assert left[cheek].std() > 0.04


def test_models_without_regions_and_symmetry(tiny_face_data: FaceModelData):
    """A face turned by other coefficients of a model that has nothing but a layout."""
    model = FaceModel(tiny_face_data)
    vertices = model.mean_shape.reshape(-1, 3).numpy()
    photo = np.full((224, 224, 3), 120, np.uint8)
    view = PhotoView(photo, Camera.rnet().to(torch.float64), vertices, torch.zeros(1, 27))
    found = PhotoTexture(model, 64)([view], torch.zeros(1, 3))
    middle = found[24:40, 24:40]
    assert found.shape == (64, 64, 3) and found.dtype == np.uint8
    np.testing.assert_allclose(middle, 120, atol=1)


def test_a_model_without_layout_is_refused(tiny_face_data: FaceModelData):
    model = FaceModel(replace(tiny_face_data, uv=None, uv_triangles=None))
    with pytest.raises(ValueError, match="tiny has no texture coordinates"):
        PhotoTexture(model)
