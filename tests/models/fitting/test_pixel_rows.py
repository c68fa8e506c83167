"""Rows of pixels: compiled as readable, for any number of pixels and faces."""

from __future__ import annotations

import pytest
import torch

from models.face_model import FaceModel
from models.fitting.derivatives import FaceDerivatives
from models.fitting.pixel_rows import Mixer, PixelFactors, pixel_rows, pixel_rows_reference


def factors_of(vertices: int, batch: int, pixels: int) -> PixelFactors:
    """Numbers without meaning; the last pixel of the first face has no weight."""
    roots = torch.rand(batch, pixels, 3)
    roots[0, -1] = 0
    return PixelFactors(
        corners=torch.randint(0, vertices, (batch, pixels, 3)),
        barycentrics=torch.rand(batch, pixels, 3),
        turned=torch.randn(batch, pixels, 3, 6),
        irradiance=torch.randn(batch, pixels, 3),
        by_rotation=torch.randn(batch, pixels, 3, 3),
        by_point=torch.randn(batch, pixels, 3, 3),
        albedo=torch.rand(batch, pixels, 3),
        harmonics=torch.randn(batch, pixels, 9),
        roots=roots,
    )


@pytest.mark.parametrize(("batch", "pixels"), [(1, 1), (2, 700), (3, 1024)])
@pytest.mark.parametrize("threads", [1, 2])
def test_compiled_rows_are_the_readable_ones(
    batch: int, pixels: int, threads: int, tiny_face_model: FaceModel
):
    """One pixel, some more than a thread takes at once, and just as many."""
    torch.set_num_threads(threads)
    tables = FaceDerivatives.of(tiny_face_model)
    factors = factors_of(tiny_face_model.vertex_count, batch, pixels)
    found = pixel_rows(factors, tables)
    assert found.shape == (batch, 3 * pixels, tiny_face_model.layout.size)
    expected = pixel_rows_reference(factors, tables)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not found[0, -3:].any()
    assert found[0, :-3].any(dim=0).all() or pixels == 1


def test_factors_need_not_be_contiguous(tiny_face_model: FaceModel):
    tables = FaceDerivatives.of(tiny_face_model)
    factors = factors_of(tiny_face_model.vertex_count, 2, 5)
    loose = PixelFactors(
        **{
            name: value.transpose(0, 1).contiguous().transpose(0, 1)
            for name, value in vars(factors).items()
        }
    )
    assert torch.equal(pixel_rows(loose, tables), pixel_rows(factors, tables))


def test_readable_rows_by_a_plain_loop(tiny_face_model: FaceModel):
    tables = FaceDerivatives.of(tiny_face_model)
    factors = factors_of(tiny_face_model.vertex_count, 2, 3)
    layout = tiny_face_model.layout
    found = pixel_rows_reference(factors, tables).unflatten(1, (3, 3))
    shape_size = tables.surface.shape[2]
    for item, pixel, channel in [(0, 0, 1), (1, 2, 0), (1, 1, 2)]:
        row = torch.zeros(layout.size)
        for corner, share in zip(
            factors.corners[item, pixel], factors.barycentrics[item, pixel], strict=True
        ):
            for way in range(6):
                turned = factors.turned[item, pixel, channel, way]
                row[:shape_size] += share * turned * tables.surface[corner, way]
            lit = factors.irradiance[item, pixel, channel]
            row[layout.slices["texture"]] += share * lit * tables.albedo[corner, channel]
        row[layout.slices["angles_rad"]] = factors.by_rotation[item, pixel, channel]
        row[layout.slices["translation_dm"]] = factors.by_point[item, pixel, channel]
        light = layout.slices["gamma"].start + 9 * channel
        row[light : light + 9] = (
            factors.albedo[item, pixel, channel] * factors.harmonics[item, pixel]
        )
        expected = row * factors.roots[item, pixel, channel]
        torch.testing.assert_close(found[item, pixel, channel], expected)


def test_attributes_of_one_face_or_of_each_are_mixed():
    corners = torch.randint(0, 9, (2, 4, 3))
    weights = torch.rand(2, 4, 3)
    at = Mixer(corners, weights)
    shared, own = torch.randn(1, 9, 5, 2), torch.randn(2, 9, 3)
    for item in range(2):
        for pixel in range(4):
            places, shares = corners[item, pixel], weights[item, pixel]
            of_shared = (shared[0, places] * shares[:, None, None]).sum(dim=0)
            of_own = (own[item, places] * shares[:, None]).sum(dim=0)
            torch.testing.assert_close(at(shared)[item, pixel], of_shared)
            torch.testing.assert_close(at(own)[item, pixel], of_own)
