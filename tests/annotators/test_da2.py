import re
from dataclasses import replace

import pytest
import torch

from depth_normal.annotators.da2 import Da2Annotator
from depth_normal.annotators.networks.configs import Da2Config
from depth_normal.annotators.networks.da2 import Da2
from depth_normal.annotators.registry import find_spec
from depth_normal.geometry.estimate import Quantity
from depth_normal.geometry.kinds import Projection
from tests import random_weights as RANDOM

PUBLISHED = find_spec("da2")
CONFIG = Da2Config(replace(PUBLISHED.config.vit, width=16, depth=4, heads=2, taken=(0, 1, 2, 3), grid=3), width=16, heads=2)
SPEC = replace(PUBLISHED, default_size=112, config=CONFIG)


def weights(config=CONFIG):
    """Random weights by the names of the published file, with the tensors that are not used."""
    with torch.device("meta"):
        network = Da2(config)
    state = {}
    for name, value in RANDOM.state_of(network).items():
        name = re.sub(r"^head\.", "vit_w_esphere._vit_w_esphere.", name)
        state[f"vit_w_esphere.dim_aligner.{name}" if name.startswith("aligners.") else name] = value
    unused = ("dino.mask_token", "dino.register_tokens", "vit_w_esphere._vit_w_esphere.to_confidence_lr.weight")
    return state | {name: torch.zeros(1, 4) for name in unused}


def annotator(dtype=torch.float32):
    return Da2Annotator.build(SPEC, {"network": weights()}, dtype)


def test_distance_is_positive_and_1_at_the_98th_percentile_of_each_image():
    image = RANDOM.make_images(56, 112)
    found = annotator().estimate(torch.cat((image, image * 0.2)))
    assert found.quantity is Quantity.SCALE_INVARIANT_DEPTH and found.projection is Projection.EQUIRECTANGULAR
    assert (found.depth > 0).all() and found.depth.std() > 0.01
    for one in found.depth:
        assert one.quantile(0.98) == pytest.approx(1, abs=1e-5)


def test_distances_are_the_authors(is_the_authors):
    """Recorded from `SphereViT` of EnVision-Research/DA-2, d659838, at these sizes, and divided by its 98th percentile."""
    is_the_authors("da2", 1e-5, distance=annotator().estimate(RANDOM.make_images(56, 112)).depth)
