"""How alike two backends draw is counted in pixels, colours and gradients."""

import torch

from benchmarks.renderer import alike, drawn
from models.camera import Camera
from models.face_model import FaceModel


def test_what_differs_is_counted(tiny_face_model: FaceModel):
    camera = Camera.rnet()
    vertices = camera.from_object(tiny_face_model.mean_shape.reshape(1, -1, 3))
    expected = drawn("numba", vertices, tiny_face_model.triangles, camera)
    same = alike(drawn("torch", vertices, tiny_face_model.triangles, camera), expected)
    assert same.startswith("0 of 50176 pixels see another triangle (0.0e+00)")
    ids, picture, by_clip, by_colours = (part.clone() for part in expected)
    row, column = (ids[0] >= 0).nonzero()[0].tolist()
    ids[0, row, column] = -1
    picture[0, 100, 100] += 0.25
    picture[0, row, column] += 9  # that pixel is told of already
    by_clip[0, :3] += by_clip.abs().max()
    told = alike((ids, picture, by_clip, by_colours), expected)
    assert told == (
        "1 of 50176 pixels see another triangle (2.0e-05), colours of the others differ by up to "
        f"2.5e-01; of the gradients {3 / by_clip.shape[1]:.1e} of those by clip and 0.0e+00 of "
        "those by colours differ by more than a hundredth"
    )
    assert torch.equal(expected[0] >= 0, expected[1].sum(dim=-1) != 0)
