"""What all effect nodes make of their images: values that are no image's, HDR, one image with several maps, and the caller's autocast."""

import pytest
import torch

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes import interop, parallax, refine, relight, stereo
from depth_normal.nodes.effects import NODE_OF

SIZE = 24
# What each node is called with; and whether its first output is an image, in which the light of the input survives.
EFFECTS = {
    **{name: (node, {}, False) for name, node in NODE_OF.items()},
    "mask": (NODE_OF["mask"], {"far": 60.0}, False),
    "cutout": (NODE_OF["cutout"], {"far": 60.0}, True),
    "fog": (NODE_OF["fog"], {"density": 0.01, "sky": "none"}, True),
    "depth-of-field": (NODE_OF["depth-of-field"], {"focus": 100.0}, True),
    "relight": (relight.Relight, {"ambient": 1.0, "intensity": 0.0}, True),
    "relight, clipped": (relight.Relight, {"ambient": 1.0, "intensity": 1.0, "roll_off": False}, True),
    "parallax": (parallax.DepthParallax, {"frames": 2}, True),
    "stereo": (stereo.Stereo, {}, True),
    "stereo, half": (stereo.Stereo, {"layout": "half-sbs", "original": "left"}, True),
    "vr180": (stereo.Stereo, {"layout": "vr180", "eye_size": 64}, True),
}
every_effect = pytest.mark.parametrize("name", EFFECTS)


def made(name, image, **others):
    node, options, _ = EFFECTS[name]
    result = node().execute(image=image, **{"depth": slope(), **options, **others})
    return result["result"][0] if isinstance(result, dict) else result[0]


def slope(batch=1):
    return torch.linspace(0.2, 1, SIZE).view(1, 1, SIZE, 1).expand(batch, SIZE, SIZE, 3).contiguous()


def photo(batch=1, channels=3):
    return torch.rand(batch, SIZE, SIZE, channels, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


def bright(channels=3):
    """A lamp on a wall."""
    image = photo(channels=channels)
    image[:, 14:20, 8:16, :3], image[..., 3:] = 6.0, 1.0
    return image


@every_effect
@pytest.mark.parametrize(
    ("spoiled", "message"),
    [
        (lambda image: image * 255, "from [0-9.]+ to [0-9.]+; expected .* divide what is 0..255 by 255"),
        (lambda image: image - 1, "from -0.[0-9]+ to -0.[0-9]+; expected|from -0"),
        (lambda image: image * 2 - 2, "make -1..1"),
        (lambda image: image.where(image > 0.3, torch.nan), "NaN or infinite .*: replace them .*--fp32-vae"),
    ],
)
def test_what_is_no_image_is_refused(name, spoiled, message):
    with pytest.raises(ValueError, match=message):
        made(name, spoiled(photo()))


@pytest.mark.quick_cases(11)
@every_effect
@pytest.mark.parametrize("channels", [3, 4])
def test_what_is_brighter_than_white_stays_so(name, channels):
    image = bright(channels)
    found, plain = made(name, image), made(name, image.clamp(0, 1))
    assert found.shape == plain.shape and bool(found.isfinite().all())
    if EFFECTS[name][2]:
        assert 5 < found[..., :3].max() <= 6.001 and plain[..., :3].max() <= 1
        dim = plain[..., :3].amax(-1) < 0.8
        assert (found - plain)[dim].abs().mean() < 0.02, "what is not bright is as it is without a lamp"


@pytest.mark.parametrize("name", ["fog", "depth-of-field", "relight", "parallax", "stereo"])
def test_alpha_is_kept(name):
    image = photo(channels=4)
    image[..., 3], image[:, :, : SIZE // 3, 3] = 1.0, 0.0
    found = made(name, image)
    assert found.shape[-1] == 4 and found[..., :3].isfinite().all()
    assert found[:, SIZE // 2, 2, 3].max() < 0.1 and found[:, SIZE // 2, -3, 3].min() > 0.9


@pytest.mark.quick_cases(4)
@every_effect
def test_one_image_is_there_for_all_of_several_maps(name):
    geometry = Estimate.cat([Estimate(slope()[..., :1].movedim(-1, 1), Quantity.DISPARITY)] * 5)
    one, several = made(name, photo()), made(name, photo(), geometry=geometry)
    assert len(several) == 5 * len(one)
    torch.testing.assert_close(several[: len(one)], one)
    assert len(made(name, photo(), depth=slope(3))) == 3 * len(one)


@pytest.mark.parametrize("node", [interop.GeometryToMoge, interop.GeometryToDa3, refine.RefineGeometry])
def test_one_image_is_there_for_all_of_several_geometries(node):
    geometry = Estimate.cat([Estimate(slope()[..., :1].movedim(-1, 1), Quantity.METRIC_DEPTH)] * 5)
    (found,) = node().execute(image=photo(), geometry=geometry)
    assert (len(found["image"]) if isinstance(found, dict) else found.batch) == 5


@pytest.mark.parametrize(("name", "mask"), [("cutout", "mask"), ("fog", "sky_mask"), ("relight", "sky_mask")])
def test_one_image_is_there_for_all_of_several_masks(name, mask):
    assert len(made(name, photo(channels=4), **{mask: torch.ones(3, SIZE, SIZE)})) == 3


@every_effect
def test_autocast_of_the_caller_changes_nothing(name):
    plain = made(name, photo())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(made(name, photo()), plain)
