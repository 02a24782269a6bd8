"""The sizes in the table of models, against the number of parameters that the networks have."""

import pytest
import torch

from depth_normal.annotators import midas, zoe
from depth_normal.annotators.building import from_diffusers, from_transformers, on_meta_device
from depth_normal.annotators.networks.leres import Leres, MergeNetwork
from depth_normal.annotators.networks.midas import MidasSmall
from depth_normal.annotators.networks.tiny import TINY_2, SharpHead, TinyNetwork
from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.annotators.specs.base import WeightFile

FILES = [(spec, file) for spec in MODELS.values() for file in spec.files]
HALF_PRECISION = {
    "tiny": ("network", "sharp"),
    "marigold-": ("network", "vae", "text_encoder"),
    "lbm-": ("network",),
    "lotus-": ("vae", "text_encoder"),
}
HALF_PRECISION_REPOSITORIES = ("jingheya/lotus-depth-d-v1-1", "apple/DepthPro-mixin")
# as their authors count them: with the parts for several views, which the pack does not build
WHOLE_NETWORKS = {"depth-anything-3-small": 34_299_655, "depth-anything-3-base": 135_366_791, "depth-anything-3-large": 410_941_767}

# the authors' networks for the shift and the focal length, which lie in the same file
BESIDES = {"res101.pth": 34_028_676 + 34_035_588}


def diffusion_networks(spec, role):
    unet, vae = from_diffusers("UNet2DConditionModel", "AutoencoderKL")
    if role == "text_encoder":
        model, config = from_transformers("CLIPTextModel", "CLIPTextConfig")
        return [model(config(**spec.config.text_encoder))]
    parts = {"network": [unet(**spec.config.unet)], "vae": [vae(**spec.config.vae)]}
    return parts["network"] + parts["vae"] if spec.family == "lbm" else parts[role]


def networks(spec, role):
    """The modules that one file fills, without memory: the family's own, or those of a library."""
    with torch.device("meta"):
        if spec.family in ("marigold", "lotus", "lbm"):
            return diffusion_networks(spec, role)
        if spec.family == "leres-boost":
            return [MergeNetwork(spec.config.merge) if role == "merge" else Leres(spec.config.leres)]
        if spec.family == "tiny":
            return [SharpHead() if role == "sharp" else TinyNetwork(TINY_2)]
        if spec.family == "zoedepth":
            return [on_meta_device(from_transformers("ZoeDepthForDepthEstimation")[0], zoe.transformers_config(spec.config))]
        if spec.family == "midas" and spec.config.backbone == "efficientnet-lite3":
            return [MidasSmall()]
        if spec.family == "midas":
            return [on_meta_device(from_transformers("DPTForDepthEstimation")[0], midas.transformers_config(spec.config))]
        return [FAMILIES[spec.family].network_of(spec)]


def tables(spec):
    """Bytes of the tables of relative positions (int64) that timm's BEiT keeps in a checkpoint, one a layer."""
    side = 384 if spec.family == "zoedepth" else 512 if spec.id == "midas-beit-large-512" else 0
    return side and 24 * 8 * ((side // 16) ** 2 + 1) ** 2


def bytes_each(spec, file: WeightFile) -> int:
    roles = next((roles for prefix, roles in HALF_PRECISION.items() if spec.id.startswith(prefix)), ())
    return 2 if file.role in roles or file.repo_id in HALF_PRECISION_REPOSITORIES else 4


@pytest.mark.quick_cases(20)
@pytest.mark.parametrize(("spec", "file"), FILES, ids=[f"{spec.id}-{file.role}" for spec, file in FILES])
def test_a_size_is_what_the_parameters_take(spec, file):
    stated = file.size or file.approximate_size
    assert stated
    assert not (file.size and file.approximate_size), "a known size needs no other"
    built = sum(tensor.numel() for network in networks(spec, file.role) for tensor in network.parameters())
    computed = WHOLE_NETWORKS.get(spec.id, built) * bytes_each(spec, file) + tables(spec) + BESIDES.get(file.name, 0)
    # the rest is the names, and in Swin V2's file tables of positions
    assert stated == pytest.approx(computed, rel=0.04 if spec.id == "midas-swin2-tiny" else 0.01)


def test_sizes_in_words():
    assert MODELS["midas-dpt-hybrid"].size_in_words == "493 MB"
    assert MODELS["midas-dpt-large"].size_in_words == "1.38 GB"
    assert MODELS["zoe-depth-anything-outdoor"].size_in_words == "about 1.3 GB"
    assert MODELS["marigold-depth"].size_in_words == "about 2.6 GB"
    assert MODELS["lotus-normals-d"].size_in_words == "about 4.3 GB", "an estimated part makes an estimate of the whole"


def test_commits_are_pinned_or_said_not_to_be():
    """Where no commit is known, a sha256 holds the file; where that is not known either, what the hub states when it is fetched."""
    by_nothing = set()
    for spec, file in FILES:
        assert file.revision == "main" or len(file.revision) == 40
        assert file.repo_id or file.revision == "main"
        if file.revision == "main" and not file.sha256:
            by_nothing.add(spec.family)
    assert by_nothing <= {
        "midas",
        "depth-anything",
        "zoe-depth-anything",
        "depth-anything-3",
        "video-depth-anything",
        "marigold",
        "lotus",
        "lbm",
        "dsine",
    }
