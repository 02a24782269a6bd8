from dataclasses import replace

import pytest
import torch

from depth_normal.annotators import moge
from depth_normal.annotators.networks.configs import Moge1Config, VitConfig
from depth_normal.annotators.networks.moge import MoGe, MoGe1
from depth_normal.annotators.registry import find_spec
from depth_normal.annotators.specs import moge as published
from depth_normal.annotators.specs.base import CheckpointError, ModelSpec, WeightFile
from depth_normal.geometry.comfy_dicts import estimate_to_moge, moge_to_estimate
from depth_normal.geometry.estimate import Quantity
from depth_normal.geometry.surfaces.derive import with_normals
from depth_normal.model_loader.weights.checkpoint import read_checkpoint
from tests import random_weights as RANDOM
from tests.random_weights import make_images

CONFIG = Moge1Config(VitConfig(16, 4, 2, (0, 1, 2, 3), grid=3), 12, (8, 8, 8))
SPEC = ModelSpec(
    "moge-1-tiny", "moge", (WeightFile("t.pt"),), "MIT", Quantity.SCALE_INVARIANT_DEPTH, multiple_of=1, default_size=56, config=CONFIG
)


def annotator(dtype=torch.float32):
    return moge.MogeAnnotator.build(SPEC, {"network": RANDOM.state_of(MoGe1(CONFIG))}, dtype)


@torch.no_grad()
@pytest.mark.parametrize(("height", "width"), [(28, 42), (47, 33)])
def test_the_network_is_the_authors(height, width, is_the_authors):
    pixels = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    output = annotator().network(pixels, aspect=9.0)  # version 1 goes by the pixels
    is_the_authors(f"moge-1, {height}x{width}", points=output.points, mask=output.mask + 0.5)
    assert output.scale.tolist() == [1] and output.normals is None


def test_depth_is_up_to_scale_with_the_camera_and_no_normals():
    found = annotator().estimate(make_images(30, 40, 2))
    assert found.quantity is Quantity.SCALE_INVARIANT_DEPTH and found.normals is None
    assert found.depth.shape == (2, 1, 30, 40) and found.intrinsics.shape == (2, 3, 3) and found.mask.dtype == torch.bool
    given = annotator().estimate(make_images(30, 40), fov=60.0)
    assert given.intrinsics[0, 0, 0].item() == pytest.approx(40 / 2 / 3**-0.5)


def test_its_points_are_as_usable_as_those_that_cores_node_hands_on():
    """Zero is the camera, so that shape and normals are known without a ratio, and what goes to core's meshes comes back as it went."""
    images = make_images(30, 40)
    found = with_normals(annotator().estimate(images))
    assert found.normals is not None
    core = estimate_to_moge(found, images)
    assert core["points"][core["mask"]].isfinite().all()
    back = moge_to_estimate(core)
    assert back.quantity is found.quantity
    torch.testing.assert_close(back.depth[back.depth_valid], found.depth[found.depth_valid])


def test_the_layouts_of_file_give_the_same_network():
    state = RANDOM.state_of(MoGe1(CONFIG))
    extra = {"backbone.mask_token": torch.zeros(1, 16), "image_mean": torch.zeros(1, 3, 1, 1), "image_std": torch.ones(1, 3, 1, 1)}
    for layout in ({**state, **extra}, RANDOM.hub_names(state)):
        found = moge.MogeAnnotator.build(SPEC, {"network": layout}, torch.float32).network.state_dict()
        assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.slow("takes most of a second")
def test_what_a_file_says_of_its_architecture_is_not_believed(tmp_path):
    """The tensors decide: a `model_config` beside them that lies changes nothing, and makes no other file pass."""
    state = RANDOM.state_of(MoGe1(CONFIG))
    lie = {"encoder": "dinov2_vitg14", "intermediate_layers": 1, "remap_output": "sinh", "mask_threshold": 0.0, "dim_upsample": [1, 2, 3]}
    torch.save({"model_config": lie, "model": state}, tmp_path / "liar.pt")
    found = moge.MogeAnnotator.build(SPEC, {"network": read_checkpoint(tmp_path / "liar.pt")}, torch.float32)
    assert torch.equal(found.estimate(make_images(30, 40)).depth, annotator().estimate(make_images(30, 40)).depth)
    true_of_another = {"encoder": "dinov2_vits14", "intermediate_layers": 4}
    other = RANDOM.state_of(MoGe1(replace(CONFIG, projected=20)))
    torch.save({"model_config": true_of_another, "model": other}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="tensors of another shape"):
        moge.MogeAnnotator.build(SPEC, {"network": read_checkpoint(tmp_path / "other.pt")}, torch.float32)


@pytest.mark.slow("takes most of a second")
def test_the_published_siblings_are_told_apart():
    """Small given for base, and version 1 for 2: by their shapes alone, so that no memory is needed here."""
    with torch.device("meta"):
        small, first = MoGe(published.SMALL).state_dict(), MoGe1(published.V1_LARGE).state_dict()
    for state, of in ((small, "moge-2-vits-normal"), (first, "moge-vitl")):
        with pytest.raises(CheckpointError, match=f"not a checkpoint of moge-2-vitb-normal but of {of}"):
            moge.MogeAnnotator.build(find_spec("moge-2-vitb-normal"), {"network": state}, torch.float32)
