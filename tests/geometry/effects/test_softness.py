"""Steps of depth, and what is softened beside them."""

import pytest
import torch

from depth_normal.geometry.effects.softness import DepthSteps


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
