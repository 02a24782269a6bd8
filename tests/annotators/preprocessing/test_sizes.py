"""The sizes in the table of models, against the number of parameters that the networks have, and the sizes of their inputs."""

import re

import pytest
from torch import nn

from depth_normal.annotators.registry import FAMILIES, MODELS
from depth_normal.annotators.specs.base import WeightFile
from tests.model_loader.weights.test_identify import NETWORKS

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


def numbers_in(spec, file):
    """How many numbers a file has: those of the network of the same sizes, which is counted; a text encoder without its projection."""
    parts = {"vae": 83_653_863, "text_encoder": 340_387_840, "depth": 115_360_833, "merge": 79_564_801, "sharp": 706_244}
    if file.role in parts:
        return parts[file.role]
    alike = [number for name, (_, number) in NETWORKS.items() if (MODELS[name].family, MODELS[name].config) == (spec.family, spec.config)]
    network = alike[0] if alike else 3_675_035  # tiny
    return network + parts["vae"] if spec.family == "lbm" else network


def tables(spec):
    """Bytes of the tables of relative positions (int64) that timm's BEiT keeps in a checkpoint, one a layer."""
    side = 384 if spec.family == "zoedepth" else 512 if spec.id == "midas-beit-large-512" else 0
    return side and 24 * 8 * ((side // 16) ** 2 + 1) ** 2


def bytes_each(spec, file: WeightFile) -> int:
    roles = next((roles for prefix, roles in HALF_PRECISION.items() if spec.id.startswith(prefix)), ())
    return 2 if file.role in roles or file.repo_id in HALF_PRECISION_REPOSITORIES else 4


@pytest.mark.parametrize(("spec", "file"), FILES, ids=[f"{spec.id}-{file.role}" for spec, file in FILES])
def test_a_size_is_what_the_parameters_take(spec, file):
    stated = file.size or file.approximate_size
    assert stated
    assert not (file.size and file.approximate_size), "a known size needs no other"
    computed = WHOLE_NETWORKS.get(spec.id, numbers_in(spec, file)) * bytes_each(spec, file) + tables(spec) + BESIDES.get(file.name, 0)
    # the rest is the names, and in Swin V2's file tables of positions
    assert stated == pytest.approx(computed, rel=0.04 if spec.id == "midas-swin2-tiny" else 0.01, abs=1000)


# Height x width of an image @ the size asked for = height x width that the network sees, as by its authors' code.
# MoGe-2 has 1200 tokens of 14 x 14 at 485 and 3600 at 840, MoGe-1 2500 at 700. LeReS++'s is the largest for any image.
# DSINE pads to 32 later. LBM has as many pixels as 1024 x 1024, in place of the nearest of the authors' eleven shapes.
NETWORK_SIZES = """
bae-normal: 480x640@480=480x640 1080x1920@512=512x896 1920x1080@512=896x512 512x512@512=512x512 20x300@64=64x960 100x100@1=32x32
da2: 2000x4000@1092=546x1092 2000x4000@560=280x560 2000x4000@600=294x588
depth-anything-3-metric-large: 720x1280@504=280x504 480x640@504=378x504 640x480@504=504x378 300x300@504=504x504 10x2000@504=14x504
depth-anything-3-metric-large: 1x1@504=504x504 287x504@504=294x504 400x600@504=336x504 1080x1920@504=280x504
depth-anything-small: 480x640@518=518x686 1080x1920@518=518x924 1920x1080@518=924x518 518x518@518=518x518 100x100@512=518x518
depth-anything-small: 100x100@520=532x532 1x1@14=14x14 400x600@518=518x784 640x480@518=686x518
dsine: 480x640@480=480x640 400x600@480=480x720 1080x1920@480=480x853 640x480@480=640x480
lbm-depth: 1024x1024@1024=1024x1024 512x512@1024=1024x1024 1080x1920@1024=768x1368 4000x1000@1024=2048x512 480x640@1024=888x1184
leres: 480x640@448=448x448 400x600@448=448x448 1080x1920@448=448x448 640x480@448=448x448
leres-boost: 480x640@1024=1600x1600 400x600@1024=1600x1600 1080x1920@1024=1600x1600 640x480@1024=1600x1600
lotus-depth-d: 480x640@768=576x768 400x600@768=512x768 1080x1920@768=432x768 640x480@768=768x576
marigold-depth: 480x640@768=576x768 400x600@768=512x768 1080x1920@768=432x768 640x480@768=768x576
metric3d-vit-small: 480x640@616=616x1064 640x480@616=616x1064 1080x1920@616=616x1064 10x9000@616=616x1064 480x640@308=308x532 1x1@1=28x28
midas-beit-large-512: 480x640@512=512x672 400x600@512=352x512 1080x1920@512=512x896 640x480@512=672x512
midas-dpt-hybrid: 480x640@384=384x512 400x600@384=384x576 1080x1920@384=384x672 640x480@384=512x384
midas-swin2-tiny: 480x640@256=256x256 400x600@256=256x256 1080x1920@256=256x256 640x480@256=256x256
midas-v2.1-small: 480x640@256=192x256 400x600@256=160x256 1080x1920@256=128x256 640x480@256=256x192
moge-2-vits-normal: 480x640@485=420x560 1080x1920@485=364x644 100x1000@485=154x1540 100x1000@840=266x2660 500x500@840=840x840
moge-vitl: 480x640@700=606x808 480x640@485=420x560 1080x1920@485=363x646 100x1000@485=153x1533 1x900@56=14x1680 400x600@700=571x857
tiny: 480x640@512=256x352 480x640@256=256x352 7x5000@192=32x22848 480x640@192=192x256 640x480@192=256x192 500x500@192=192x192
tiny: 1x1@192=192x192 720x1280@192=192x352 100x800@192=96x768 480x640@224=224x288 400x600@224=224x352 1080x1920@224=224x384
video-depth-anything-small: 480x640@518=518x686 1080x1920@518=518x924 1920x1080@518=924x518 800x1920@518=378x910 1080x2560@518=392x924
zipdepth-base: 480x640@384=384x512 1080x1920@384=384x672 1920x1080@384=672x384 500x333@384=576x384 1000x300@384=1280x384
zipdepth-base: 375x1242@384=384x1280
zoe-depth-anything-indoor: 480x640@392=392x518 400x600@392=392x574 1080x1920@392=392x672 640x480@392=672x518
zoedepth-kitti: 480x640@384=576x768 400x600@384=544x768 1080x1920@384=448x768 640x480@384=992x768
zoedepth-nyu: 480x640@384=384x512 400x600@384=384x544 1080x1920@384=384x672 640x480@384=672x512
"""


@pytest.mark.parametrize("line", NETWORK_SIZES.split("\n")[1:-1], ids=lambda line: line.partition(":")[0])
def test_a_network_sees_the_size_that_its_authors_give_it(line):
    spec = MODELS[line.partition(":")[0]]
    annotator = FAMILIES[spec.family](spec, nn.Identity())
    for case in line.split()[1:]:
        height, width, size, *expected = map(int, re.findall(r"\d+", case))
        assert annotator.checked_network_size(height, width, size) == tuple(expected), case


def test_every_kind_of_size_is_in_the_list():
    kinds = {spec.id: (spec.family, spec.default_size, spec.multiple_of, spec.resizing) for spec in MODELS.values()}
    listed = {line.partition(":")[0] for line in NETWORK_SIZES.split("\n")[1:-1]}
    assert {kinds[name] for name in listed} == set(kinds.values()) - {kinds["depth-pro"]}, "NETWORK_SIZES; depth-pro sees 1536 x 1536"


def test_commits_are_pinned_or_said_not_to_be():
    """Where no commit is known, a sha256 holds the file; where that is not known either, what the hub states when it is fetched."""
    assert all(file.revision == "main" or (len(file.revision) == 40 and file.repo_id) for _, file in FILES)
    by_nothing = {spec.family for spec, file in FILES if file.revision == "main" and not file.sha256}
    depth_anything = {"depth-anything", "zoe-depth-anything", "depth-anything-3", "video-depth-anything"}
    assert by_nothing <= depth_anything | {"midas", "marigold", "lotus", "lbm", "dsine"}
