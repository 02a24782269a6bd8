import pytest
import torch

from depth_normal.geometry.effects.edge_sides import edge_sides
from depth_normal.geometry.effects.softness import DepthSteps, Softness


@pytest.mark.parametrize("seed", [28, 30, 33])
def test_a_millionth_of_noisy_depth_turns_no_normal_over(seed):
    """Near or far, at an edge or not: none is a hard choice. Each seed has a pixel that hard choices turned by .1 to .8."""
    random = torch.Generator().manual_seed(seed)
    down, right = torch.meshgrid(torch.linspace(-1, 1, 96), torch.linspace(-1, 1, 128), indexing="ij")
    depth = torch.where(down.square() + right.square() < 0.3, 1.5, 3.0)[None, None]
    depth = depth * (1 + 0.03 * torch.randn(depth.shape, generator=random))
    image = torch.rand(1, 3, 96, 128, generator=random)
    towards = torch.tensor((0.0, 0.0, 2.0)).view(1, 3, 1, 1)
    normals = torch.nn.functional.normalize(torch.randn(1, 3, 96, 128, generator=random) + towards, dim=1)
    moved = depth * (1 + 1e-6 * (2 * torch.rand(depth.shape, generator=random) - 1))
    (_, found), (_, expected) = (
        edge_sides(image, normals, each, each, torch.zeros_like(depth), Softness(1.0)) for each in (1 / moved, 1 / depth)
    )
    assert (found - expected).abs().max() < 1e-2


@pytest.mark.parametrize("size", [(30, 40), (61, 741), (1, 700), (7, 3)], ids=str)
def test_values_are_softened_beside_steps_alone(size):
    height, width = size
    middle = width // 2
    far = (torch.arange(width) >= middle).expand(1, 1, height, width)
    steps = DepthSteps.of(torch.where(far, 0.25, 1.0))
    found = steps.softened(far.float(), 1.0)
    assert found.shape == (1, 1, height, width)
    beyond = max(1, width // 10)
    torch.testing.assert_close(found[..., : middle - beyond], far.float()[..., : middle - beyond])
    if height > 1:
        silhouettes, beside = steps.edges.tolist()
        assert silhouettes == beside > 0
        assert 0 < found[0, 0, height // 2, middle] < 1


def test_depth_whose_silhouettes_are_ramps_is_soft_though_its_normals_turn_fast():
    """Their wavering edges alone would say the opposite, and do where there are no silhouettes; shadows go by the normals."""
    right = torch.arange(640).add(0.5).mul(torch.pi / 40).sin().expand(1, 1, 96, 640)
    normals = torch.nn.functional.normalize(torch.cat((0.8 * right.sign(), 0 * right, torch.ones_like(right)), 1), dim=1)
    found = []
    for inverse in (0.5 + 0.25 * (3 * right).tanh(), 0.5 + 0.25 * right.sign(), torch.full_like(right, 0.5)):
        steps = DepthSteps.of(inverse)
        found.append(steps.softness(normals, steps.evidence(normals)))
    ramp, step, flat = found
    assert ramp.whole == pytest.approx(1, abs=0.05) and step.whole == flat.whole == 0
    assert ramp.doubt == step.doubt == flat.doubt == 0
