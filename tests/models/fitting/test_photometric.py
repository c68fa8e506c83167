"""The photometric term: what it costs by the formula, and its rows by finite differences.

Visibility is frozen in all of them: a pixel keeps its triangle, as in the rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from models.camera import Camera
from models.face_model import FaceModel
from models.fitting.derivatives import FaceDerivatives
from models.fitting.energy import LEAST_DISTANCE
from models.fitting.focal import with_focal
from models.fitting.photometric import PhotoLevel, PhotometricTerm, PixelView
from models.fitting.pixel_rows import Mixer
from models.fitting.problem import FitProblem
from models.fitting.terms import NormalEquations
from models.lighting import light_coefficients, lit_harmonics
from models.losses import photometric_loss
from models.parameters import Coefficients
from models.renderer import Renderer, interpolate, rasterize
from models.self_shadow import SelfShadow
from models.stages import pose_face, shape_face
from options.fitting_weights import PUBLIC_WEIGHTS, FitWeights
from tests.models.fitting.faces import by_steps, moved, photo_of, random_face, render

WEIGHTS = FitWeights(w_photo=1.3, robust_colour=0.2, dark_lids=0.3)


def tables_of(model: FaceModel) -> FaceDerivatives:
    """Those of a face that is eyes in every second triangle."""
    tables = FaceDerivatives.of(model)
    odd = torch.arange(len(model.triangles) + 1) % 2 == 1
    odd[-1] = False  # what an empty pixel sees
    return replace(tables, is_about_eye=torch.stack([odd, odd]))


@dataclass(frozen=True)
class Scene:
    """A face, and a photo of another one near it, in double precision."""

    model: FaceModel
    level: PhotoLevel
    term: PhotometricTerm
    at: Coefficients
    view: PixelView
    self_shadow: SelfShadow | None = None

    @classmethod
    def of(
        cls, model: FaceModel, at: Coefficients, stride: int = 4, *, shadowed: bool = False
    ) -> Scene:
        model = model.double()
        at = at.to(torch.float64)
        images = photo_of(model, moved(model, at)).images
        attention = 0.2 + 0.8 * torch.rand_like(images[:, :1])
        camera = Camera.rnet().to(torch.float64)
        level = PhotoLevel.of(images, attention, camera, stride)
        return cls.before(model, at, level, shadowed=shadowed)

    @classmethod
    def before(
        cls, model: FaceModel, at: Coefficients, level: PhotoLevel, *, shadowed: bool = False
    ) -> Scene:
        tables = tables_of(model)
        layout = model.layout if at.log_focal is None else with_focal(model.layout)
        shadow = model.self_shadow if shadowed else None
        term = PhotometricTerm(
            model, tables, Renderer(), level, WEIGHTS, layout, self_shadow=shadow
        )
        return cls(model, level, term, at, term.look(at), shadow)

    def colours_and_places(self, coefficients: Coefficients) -> Tensor:
        """(B, M, 5) RGB and pixel of the points that the pixels saw, wherever they are now."""
        shaped = shape_face(self.model, coefficients)
        camera = self.level.camera
        posed = pose_face(self.model, shaped, coefficients, camera, self.self_shadow)
        at = Mixer(self.view.corners, self.view.barycentrics)
        light = light_coefficients(coefficients.gamma)
        shadow = None if posed.shadow is None else at(posed.shadow)
        colours = at(shaped.albedo) * (lit_harmonics(at(posed.normals), shadow) @ light)
        places = self.level.camera.project(at(posed.vertices_camera))
        return torch.cat([colours, places], dim=-1)

    def gradients(self) -> Tensor:
        """(B, M, 3, 2) mean of those of rendering and photo."""
        items = torch.arange(len(self.at))[:, None]
        of_photo = self.level.gradients.flatten(1, 2)[items, self.view.index]
        return (self.view.gradients + of_photo) / 2

    def jacobian(self) -> Tensor:
        """(B, M, 3, P) of the residuals: of the point's colour, less where it moves away from."""
        found = by_steps(self.model, self.colours_and_places, self.at)
        return found[..., :3, :] - self.gradients() @ found[..., 3:, :]


def scales_of(residuals: Tensor, about_eyes: Tensor) -> Tensor:
    """tau of each pixel: less about the eyes, by the cosine to grey of what is too bright."""
    grey = torch.ones(3, dtype=residuals.dtype)
    cosine = torch.nn.functional.cosine_similarity(residuals, grey, dim=-1)
    return 0.2 * torch.where(about_eyes, 0.3 ** cosine.clamp(min=0), 1.0)


def weights_of(view: PixelView) -> Tensor:
    """(B, M) of the squared residuals: w share rho'(e) / e."""
    distance = view.residuals.square().sum(dim=-1).sqrt()
    share = view.attention / view.attention.sum(dim=1, keepdim=True)
    scaled = 1 + distance / scales_of(view.residuals, view.about_eyes)
    return WEIGHTS.w_photo * share / (distance.clamp(min=LEAST_DISTANCE) * scaled)


def weighted_rows(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> tuple[Tensor, Tensor]:
    """Rows (B, M, 3, P) and residuals (B, M, 3) as they enter the normal equations."""
    taken: list[tuple[Tensor, Tensor]] = []
    of_squares = NormalEquations.of_squares

    def watched(rows: Tensor, residuals: Tensor) -> NormalEquations:
        taken.append((rows.unflatten(1, (-1, 3)), residuals.unflatten(1, (-1, 3))))
        return of_squares(rows, residuals)

    with monkeypatch.context() as patch:
        patch.setattr(NormalEquations, "of_squares", watched)
        scene.term.equations(scene.view)
    return taken[0]


@pytest.mark.parametrize("shadowed", [False, True])
def test_every_row_of_the_mean_face(
    tiny_face_model: FaceModel, shadowed: bool, monkeypatch: pytest.MonkeyPatch
):
    """About which the tables of normals are exact; its pose and light are any."""
    face = random_face(tiny_face_model, 2, size=0.0)
    scene = Scene.of(tiny_face_model, face, shadowed=shadowed)
    rows, residuals = weighted_rows(scene, monkeypatch)
    roots = weights_of(scene.view).sqrt()[..., None]
    plain = ~scene.view.about_eyes
    torch.testing.assert_close(residuals[plain], (roots * scene.view.residuals)[plain])
    expected = roots[..., None] * scene.jacobian()
    assert scene.view.shows[scene.view.attention > 0].all()
    torch.testing.assert_close(rows, expected, rtol=1e-6, atol=1e-8)
    # No column is empty, and geometry is more than what moves away.
    assert (expected.abs().amax(dim=(0, 1, 2)) > 1e-4).all()


def test_rows_of_colours_alone_are_those_of_all(
    tiny_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    scene = Scene.of(tiny_face_model, random_face(tiny_face_model, 2))
    every, _ = weighted_rows(scene, monkeypatch)
    whole = scene.model.layout
    layout = whole.only(("texture", "gamma"))
    tables = tables_of(scene.model).only(scene.model, layout)
    term = PhotometricTerm(scene.model, tables, Renderer(), scene.level, WEIGHTS, layout)
    rows, _ = weighted_rows(replace(scene, term=term, view=term.look(scene.at)), monkeypatch)
    columns = [torch.arange(whole.size)[whole.slices[name]] for name in layout.slices]
    torch.testing.assert_close(rows, every[..., torch.cat(columns)])


def test_every_row_of_another_face(tiny_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch):
    """All but the turn of the normals with the shape, which is the mean face's."""
    scene = Scene.of(tiny_face_model, random_face(tiny_face_model, 2, size=0.5))
    rows, _ = weighted_rows(scene, monkeypatch)
    expected = weights_of(scene.view).sqrt()[..., None, None] * scene.jacobian()
    shape = scene.model.layout.slices["texture"].start
    assert scene.view.shows[scene.view.attention > 0].all()
    torch.testing.assert_close(rows[..., shape:], expected[..., shape:], rtol=1e-6, atol=1e-8)
    off = (rows - expected)[..., :shape].norm() / expected[..., :shape].norm()
    assert 1e-6 < off < 0.1


def test_clipped_colours_have_no_derivative(
    tiny_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    bright = random_face(tiny_face_model)
    bright.gamma[:, 0] += 1.4  # red runs over
    scene = Scene.of(tiny_face_model, bright)
    shows = scene.view.shows
    assert 0.1 < shows[..., 0].double().mean() < 0.9 and shows[..., 1:].all()
    rows, residuals = weighted_rows(scene, monkeypatch)
    assert not rows[~shows].any() and rows[shows].any(dim=-1).all()
    assert residuals[~shows].any()
    whole = scene.view.residuals + photo_at(scene)
    assert whole.max() == 1 and whole.min() > 0


def photo_at(scene: Scene) -> Tensor:
    items = torch.arange(len(scene.at))[:, None]
    return scene.level.images.permute(0, 2, 3, 1).flatten(1, 2)[items, scene.view.index]


def test_rows_are_the_derivatives_of_the_rendering(
    tiny_face_model: FaceModel, monkeypatch: pytest.MonkeyPatch
):
    """Before a photo whose gradients are the rendering's, a row is how the pixel itself changes.

    Compared inside of triangles: there the central differences are the renderer's own slopes. It
    mixes the corners' shaded colours, the rows mix albedo and normals and shade then; at triangles
    as large as these that differs by per cents.
    """
    model = tiny_face_model.double()
    at = random_face(model, size=0.0).to(torch.float64)
    camera = Camera.rnet().to(torch.float64)
    size = (camera.height, camera.width)

    def fragments_and_image(coefficients: Coefficients) -> tuple[Tensor, Tensor]:
        posed = pose_face(model, shape_face(model, coefficients), coefficients, camera)
        fragments = rasterize(camera.clip(posed.vertices_camera), model.triangles, size)
        return fragments.triangle_id, interpolate(posed.colours, model.triangles, fragments)

    ids, image = fragments_and_image(at)
    slopes = torch.zeros(*image.shape, 2, dtype=torch.float64)
    slopes[:, :, 1:-1, :, 0] = (image[:, :, 2:] - image[:, :, :-2]) / 2
    slopes[:, 1:-1, :, :, 1] = (image[:, 2:] - image[:, :-2]) / 2
    attention = torch.ones(1, 1, *size, dtype=torch.float64)
    photo = image.permute(0, 3, 1, 2) + 0.1
    scene = Scene.before(model, at, PhotoLevel(photo, attention, slopes, camera))
    rows, _ = weighted_rows(scene, monkeypatch)
    # Pixels whose neighbours see the same triangle, and which never saw another one.
    same = torch.zeros_like(ids, dtype=torch.bool)
    inner = ids[:, 1:-1, 1:-1]
    neighbours = (ids[:, :-2, 1:-1], ids[:, 2:, 1:-1], ids[:, 1:-1, :-2], ids[:, 1:-1, 2:])
    same[:, 1:-1, 1:-1] = torch.stack([n == inner for n in neighbours]).all(dim=0)

    def seen(coefficients: Coefficients) -> Tensor:
        later, picture = fragments_and_image(coefficients)
        same.logical_and_(later == ids)
        return picture.flatten(1, 2)[:, scene.view.index[0]]

    found = by_steps(model, seen, at)
    inside = same.flatten(1)[0, scene.view.index[0]]
    assert inside.double().mean() > 0.5
    expected = found[0, inside] * weights_of(scene.view).sqrt()[0, inside, None, None]
    off = (rows[0, inside] - expected).flatten(0, 1)
    for name, part in model.layout.slices.items():
        assert off[:, part].norm() < 0.06 * expected[..., part].norm(), name


def test_gradients_of_the_rendering_are_central_differences(tiny_face_model: FaceModel):
    """Of one surface; at its edges those of the photo stand in."""
    turned = random_face(tiny_face_model)
    turned.angles_rad[:, 1] = 1.0  # the far side ends within the front
    scene = Scene.of(tiny_face_model, turned)
    model, camera, at = scene.model, scene.level.camera, scene.at
    posed = pose_face(model, shape_face(model, at), at, camera)
    seen = Renderer()(posed.vertices_camera, model.triangles, camera, posed.colours)
    assert seen.image is not None
    image, depth = seen.image[0].permute(1, 2, 0), seen.depth_dm[0, 0]
    kinds = {"surface": 0, "edge": 0}
    for number, place in enumerate(scene.view.index[0].tolist()):
        row, column = place // camera.width, place % camera.width
        for axis, (down, right) in enumerate(((0, 1), (1, 0))):
            after, before = (row + down, column + right), (row - down, column - right)
            found = scene.view.gradients[0, number, :, axis]
            # Background has the depth 0.
            if all(abs(depth[beside] - depth[row, column]) < 0.15 for beside in (before, after)):
                kinds["surface"] += 1
                torch.testing.assert_close(found, (image[after] - image[before]) / 2)
            else:
                kinds["edge"] += 1
                torch.testing.assert_close(found, scene.level.gradients[0, row, column, :, axis])
    assert kinds["surface"] > 500 and kinds["edge"] > 10


def test_the_cost_by_a_loop_over_pixels(tiny_face_model: FaceModel):
    scene = Scene.of(tiny_face_model, random_face(tiny_face_model, 2), stride=8)
    model, camera, at = scene.model, scene.level.camera, scene.at
    posed = pose_face(model, shape_face(model, at), at, camera)
    seen = Renderer()(posed.vertices_camera, model.triangles, camera, posed.colours)
    assert seen.image is not None
    front = {tuple(row) for row in model.front_triangles.tolist()}
    about_eyes = tables_of(model).is_about_eyes
    for item in range(2):
        cost, total = 0.0, 0.0
        for row in range(camera.height):
            for column in range(camera.width):
                triangle = int(seen.fragments.triangle_id[item, row, column])
                if triangle < 0 or tuple(model.triangles[triangle].tolist()) not in front:
                    continue
                colour = seen.image[item, :, row, column].clamp(0, 1)
                residual = colour - scene.level.images[item, :, row, column]
                scale = scales_of(residual, about_eyes[triangle]).item()
                attention = scene.level.attention[item, 0, row, column].item()
                cost += attention * scale * math.log(1 + residual.norm().item() / scale)
                total += attention
        found = scene.term.energy(scene.view)[item].item()
        assert found == pytest.approx(1.3 * cost / total)


def test_public_weights_make_it_the_loss_of_the_trainer(tiny_face_model: FaceModel):
    model, at = tiny_face_model, random_face(tiny_face_model)
    photo = photo_of(model, moved(model, at))
    skin = torch.rand_like(photo.images[:, :1])
    level = PhotoLevel.of(photo.images, skin, Camera.rnet(), 1)
    tables = FaceDerivatives.of(model)
    term = PhotometricTerm(model, tables, Renderer(), level, PUBLIC_WEIGHTS)
    seen = render(model, at)
    assert seen.rendering.image is not None
    loss = photometric_loss(
        seen.rendering.image.clamp(0, 1), photo.images, skin * seen.face_mask, eps=0.0
    )
    torch.testing.assert_close(term.energy(term.look(at))[0], 1.6 * loss)


def test_the_gradient_is_that_of_the_cost(tiny_face_model: FaceModel):
    """Robust weights included, of pixels that are further off than the least distance."""
    scene = Scene.of(tiny_face_model, random_face(tiny_face_model, 2, size=0.0))
    apart = scene.view.residuals.norm(dim=-1) > 2 * LEAST_DISTANCE
    assert apart.double().mean() > 0.5
    view = replace(scene.view, attention=scene.view.attention * apart)
    step = torch.zeros(2, scene.model.layout.size, dtype=torch.float64, requires_grad=True)
    moved_to = FitProblem(scene.model.layout, {}).retract(scene.at, step)
    seen = scene.colours_and_places(moved_to) - scene.colours_and_places(scene.at)
    change = seen[..., :3] - (scene.gradients() @ seen[..., 3:, None])[..., 0]
    energy = scene.term.energy(replace(view, residuals=view.residuals + change)).sum()
    (expected,) = torch.autograd.grad(energy, step)
    found = scene.term.equations(view).gradient
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_pixels_that_fill_up_have_no_weight(tiny_face_model: FaceModel):
    """A face beside a larger one costs what it costs alone, and so do its equations."""
    both = random_face(tiny_face_model, 2)
    both.translation_dm[1, 2] = -3.0
    scene = Scene.of(tiny_face_model, both)
    counted = (scene.view.attention > 0).sum(dim=1)
    assert counted[1] < 0.8 * counted[0]
    assert counted[0] == scene.view.attention.shape[1]
    together = scene.term.equations(scene.view)
    for item in range(2):
        level = replace(
            scene.level,
            images=scene.level.images[item : item + 1],
            attention=scene.level.attention[item : item + 1],
            gradients=scene.level.gradients[item : item + 1],
        )
        alone = Scene.before(scene.model, scene.at.item(item), level)
        assert alone.view.attention.shape[1] == counted[item]
        cost = scene.term.energy(scene.view)[item : item + 1]
        torch.testing.assert_close(alone.term.energy(alone.view), cost)
        equations = alone.term.equations(alone.view)
        torch.testing.assert_close(equations.hessian[0], together.hessian[item])
        torch.testing.assert_close(equations.gradient[0], together.gradient[item])


def test_attention_changes_where_certain_triangles_are_seen(tiny_face_model: FaceModel):
    scene = Scene.of(tiny_face_model, random_face(tiny_face_model, 2))
    attention = scene.level.attention.clone()
    attention[..., : attention.shape[-1] // 2] = 0.0  # beyond the edge of the photo
    scene = Scene.before(scene.model, scene.at, replace(scene.level, attention=attention))
    chosen = torch.arange(len(tiny_face_model.triangles) + 1) % 3 == 0
    chosen[-1] = False
    asked = torch.tensor([7.0, 0.5], dtype=torch.float64)
    other = scene.term.attending(chosen, asked, scene.view).look(scene.at)
    assert other.rendered is scene.view.rendered and torch.equal(other.index, scene.view.index)
    ids = other.rendered.fragments.triangle_id.flatten(1).long().gather(1, other.index)
    counts = scene.view.attention > 0
    # Never less than there was.
    wanted = asked[:, None].maximum(scene.view.attention)
    expected = torch.where(chosen[ids] & counts, wanted, scene.view.attention)
    torch.testing.assert_close(other.attention, expected)
    assert 0 < int((other.attention == 7.0).sum()) < int(counts[0].sum())
    # Over all pixels that show them, those without attention too.
    everywhere = chosen[scene.view.rendered.fragments.triangle_id.long()]
    means = [float(a[0][e].mean()) for a, e in zip(attention, everywhere, strict=True)]
    found = scene.term.mean_attention(chosen, scene.view)
    assert found.tolist() == pytest.approx(means) and 0 < means[0] < 1
    none = torch.zeros_like(chosen)
    assert scene.term.mean_attention(none, scene.view).tolist() == [0, 0]
    torch.testing.assert_close(scene.term.look(scene.at).attention, scene.view.attention)


def test_a_face_that_is_not_seen_costs_nothing_and_asks_for_nothing(tiny_face_model: FaceModel):
    both = random_face(tiny_face_model, 2)
    scene = Scene.of(tiny_face_model, both)
    away = replace(scene.at, translation_dm=scene.at.translation_dm.clone())
    away.translation_dm[0, 0] = 8.0
    view = scene.term.look(away)
    costs, equations = scene.term.energy(view), scene.term.equations(view)
    assert costs[0] == 0 and costs[1] > 0
    assert not equations.hessian[0].any() and not equations.gradient[0].any()
    assert equations.hessian[1].any()


def test_single_precision_takes_the_compiled_rows(tiny_face_model: FaceModel):
    double = Scene.of(tiny_face_model, random_face(tiny_face_model, 2))
    level = PhotoLevel(
        double.level.images.float(),
        double.level.attention.float(),
        double.level.gradients.float(),
        double.level.camera.to(torch.float32),
    )
    single = Scene.before(double.model.float(), double.at.to(torch.float32), level)
    expected = double.term.equations(double.view)
    found = single.term.equations(single.view)
    scale = expected.hessian.diagonal(dim1=1, dim2=2).sqrt()
    outer = scale[:, :, None] * scale[:, None]
    assert ((found.hessian - expected.hessian) / outer).abs().max() < 1e-4
    assert ((found.gradient - expected.gradient) / scale).abs().max() < 1e-4


def test_levels_average_pixels_and_know_their_slopes():
    x = torch.arange(12.0).expand(10, 12)
    y = torch.arange(10.0)[:, None].expand(10, 12)
    images = torch.stack([0.01 * x, 0.02 * y, 0.01 * x - 0.02 * y])[None]
    attention = torch.rand(1, 1, 10, 12)
    camera = replace(Camera.rnet(), height=10, width=12)
    level = PhotoLevel.of(images, attention, camera, 4)
    # Two rows below are left out.
    assert level.images.shape == (1, 3, 2, 3)
    assert (level.camera.height, level.camera.width) == (2, 3)
    torch.testing.assert_close(level.images[0, 0, 0], 0.01 * torch.tensor([1.5, 5.5, 9.5]))
    assert level.attention[0, 0, 1, 2] == pytest.approx(attention[0, 0, 4:8, 8:12].mean())
    points = torch.tensor([[[0.3, -0.2, 9.0]]])
    torch.testing.assert_close(4 * level.camera.project(points), camera.project(points))
    whole = PhotoLevel.of(images, attention, camera, 1)
    assert torch.equal(whole.images, images)
    slopes = whole.gradients[0, 3, 5]
    expected = torch.tensor([[0.01, 0.0], [0.0, 0.02], [0.01, -0.02]])
    torch.testing.assert_close(slopes, expected, rtol=1e-5, atol=1e-7)
