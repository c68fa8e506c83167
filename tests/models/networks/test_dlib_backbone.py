"""The backbone with keypoints: places from heat maps, frozen layers, the crop's pixels."""

from __future__ import annotations

import torch

from models.networks.dlib_backbone import DlibBackbone, DlibFeatures, KeypointHead, expected_place


def test_a_single_hot_cell_is_the_place():
    heat = torch.zeros(1, 3, 5, 9)
    heat[0, 0, 0, 0] = heat[0, 1, 4, 8] = heat[0, 2, 2, 6] = 100.0
    expected = torch.tensor([[[-1.0, -1.0], [1.0, 1.0], [0.5, 0.0]]])
    assert torch.allclose(expected_place(heat), expected, atol=1e-6)


def test_places_are_finer_than_cells_and_move_with_the_map():
    """A wide bump on a fine grid has its middle where the bump's is, wherever that lies."""
    grid = torch.linspace(-1, 1, 17, dtype=torch.float64)
    for middle in (-0.31, 0.0, 0.0625, 0.2):
        bump = -((grid - middle) ** 2) / (2 * 0.15**2)
        heat = (bump[:, None] + bump[None, :])[None, None]
        x, y = expected_place(heat)[0, 0].tolist()
        assert abs(x - middle) < 2e-3
        assert abs(y - middle) < 2e-3
    assert expected_place(torch.ones(1, 1, 4, 6)).abs().max() < 1e-6


def test_places_keep_their_precision_under_autocast():
    heat = 5 * torch.randn(2, 3, 17, 17)
    with torch.autocast("cpu", torch.bfloat16):
        reduced = expected_place(heat)
    assert torch.equal(reduced, expected_place(heat))


def test_gradient_of_the_place():
    torch.manual_seed(0)
    heat = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(expected_place, heat)


def test_keypoints_are_pixels_of_the_crop():
    """Heat in the chip's outermost cells means the edges of the central 200 px."""
    backbone = DlibBackbone().eval()
    corner = torch.zeros(1, 68, 17, 17)
    corner[:, :34, 0, 0] = corner[:, 34:, 16, 16] = 100.0
    backbone.keypoints.heat.register_forward_hook(lambda *_: corner)
    with torch.no_grad():
        found = backbone(torch.rand(1, 3, 224, 224))
    assert isinstance(found, DlibFeatures)
    assert found.features.shape == (1, backbone.feature_count, 1, 1)
    assert torch.allclose(found.keypoints_px[0, :34], torch.tensor(12.0), atol=1e-3)
    assert torch.allclose(found.keypoints_px[0, 34:], torch.tensor(212.0), atol=1e-3)


def test_the_first_layers_stay_as_dlib_trained_them():
    torch.manual_seed(0)
    backbone = DlibBackbone()
    before = {name: value.clone() for name, value in backbone.trunk.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in backbone.parameters() if p.requires_grad], lr=1e-2)
    found = backbone(torch.rand(2, 3, 224, 224))
    (found.features.square().sum() + found.keypoints_px.square().sum()).backward()
    optimizer.step()
    after = backbone.trunk.state_dict()
    moved = {
        name.rsplit(".", 2)[0] for name in before if not torch.equal(before[name], after[name])
    }
    frozen = {f"blocks.{k}" for k in range(3)} | {"conv0"}
    assert not {
        name for name in moved if name.removesuffix(".conv1").removesuffix(".conv2") in frozen
    }
    assert {f"blocks.{k}" for k in range(3, 10)} <= moved


def test_the_head_learns_to_follow_a_bright_dot():
    """From random weights: the place of a dot is within a quarter of a cell after 150 steps."""
    torch.manual_seed(0)
    head = KeypointHead(4, 1, (11, 11))
    optimizer = torch.optim.Adam(head.parameters(), lr=1e-2)
    grid = torch.linspace(-1, 1, 11)
    error = torch.tensor(0.0)
    for _ in range(150):
        place = torch.rand(16, 2) * 1.4 - 0.7
        dx, dy = grid - place[:, :1], grid - place[:, 1:]
        dot = torch.exp(-(dy[:, :, None] ** 2 + dx[:, None, :] ** 2) / (2 * 0.2**2))
        maps = torch.cat([dot[:, None], 0.1 * torch.randn(16, 3, 11, 11)], dim=1)
        error = torch.linalg.vector_norm(head(maps)[:, 0] - place, dim=1).mean()
        optimizer.zero_grad()
        error.backward()
        optimizer.step()
    assert float(error.detach()) < 0.05
