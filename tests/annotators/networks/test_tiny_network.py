import pytest
import torch

from depth_normal.annotators.networks.configs import TINY, TINY_2
from depth_normal.annotators.networks.tiny import TinyNetwork, _positions


def test_positions_run_from_minus_one_to_one_and_know_the_aspect():
    x, y, xx, yy, tall = _positions(torch.zeros(1, 1, 32, 64))[0]
    assert x[0, 0] == y[0, 7] == -1 and x[5, -1] == y[-1, 3] == 1
    torch.testing.assert_close((xx, yy, tall), (x * x, y * y, 0.5 * y))


@pytest.mark.parametrize("config", [TINY, TINY_2])
def test_a_mirrored_network_gives_the_mean_and_of_a_mirror_image_the_mirror_image(config):
    """The second version adds what is finer by the image as it is; before training that is nothing."""
    torch.manual_seed(0)
    network = TinyNetwork(config).eval()
    if network.fine is not None:
        torch.nn.init.normal_(network.fine.sky.weight)
    images = torch.rand(2, 3, 64, 96)
    signs = torch.tensor([1.0, -1, 1, 1, 1])[: 4 if config is TINY else 5].view(-1, 1, 1)
    with torch.inference_mode():
        own, turned = network(images), network(images.flip(3)).flip(3) * signs
        network.mirrored = True
        found, other = network(images), network(images.flip(3))
    assert (own - turned).abs().amax((2, 3)).min() > 1e-3, "by itself it is not its own mirror image"
    torch.testing.assert_close(found, (own + turned) / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(other, found.flip(3) * signs, atol=1e-5, rtol=0)


def test_what_is_finer_is_the_images_own_and_not_the_mirror_images():
    torch.manual_seed(0)
    network = TinyNetwork(TINY_2).eval()
    network.mirrored = True
    images = torch.rand(1, 3, 64, 96)
    turned = images.flip(3)
    with torch.inference_mode():
        before = network(images), network(turned)
        torch.nn.init.normal_(network.fine.last.weight)
        found, other = (network(seen) - plain for seen, plain in zip((images, turned), before, strict=True))
        features, _ = network._finest(network.encode(images))
        alone = network.fine(images, features, torch.zeros(1, 5, 32, 48))
    torch.testing.assert_close(found, alone, atol=1e-4, rtol=1e-4)
    assert (found - other).abs().max() > 1e-2
