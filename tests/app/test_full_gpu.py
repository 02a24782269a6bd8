"""A GPU whose memory is full: what fits there no more is computed on the CPU, and the log says so."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import pytest
import torch

from depth_normal.app.batch.failures import failure_of
from depth_normal.app.commands.scene import made_of
from depth_normal.app.outcomes import message_of

COFFEE = Path(__file__).resolve().parents[2] / "app" / "coffee.jpg"
FULL = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 70.00 MiB.")
LIMITED = """
import sys, torch
torch.cuda.set_per_process_memory_fraction(float(sys.argv[1]) * 2**20 / torch.cuda.mem_get_info()[1])
from depth_normal.app import cli
sys.exit(cli.main(sys.argv[2:]))
"""


def test_an_effect_goes_to_the_cpu():
    def scene(device):
        return SimpleNamespace(image=SimpleNamespace(device=torch.device(device)), to=scene)

    def make(scene):
        if scene.image.device.type == "cuda":
            raise FULL
        return scene.image.device.type

    assert made_of(scene("cuda:0"), make, "the fog") == "cpu"


def test_torchs_words_say_what_to_do():
    assert message_of(ValueError("no")) == "no" and message_of(ValueError()) == "ValueError"
    for words in (message_of(FULL), failure_of("a.jpg", FULL).reason):
        assert "the memory of the GPU is full: close other programs that use it, make the image smaller, or give --device cpu" in words
        assert "Tried to allocate 70.00 MiB" in words


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "words",
    [
        "estimate IMAGE",
        "estimate IMAGE --tiles 2 --refine",
        "relight IMAGE",
        "effect fog IMAGE",
        "effect depth-of-field IMAGE --point 0.5,0.4",
    ],
)
def test_with_a_few_hundred_megabytes_all_is_done(words, tmp_path):
    image = tmp_path / "large.jpg"
    cv2.imwrite(str(image), cv2.resize(cv2.imread(str(COFFEE)), (3000, 2000), interpolation=cv2.INTER_CUBIC))
    typed = [*words.replace("IMAGE", str(image)).split(), "--model", "tiny", "--device", "cuda", "-o", f"{tmp_path / 'out'}/"]
    done = subprocess.run([sys.executable, "-c", LIMITED, "300", *typed], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the memory of cuda:0 is full" in done.stderr and list((tmp_path / "out").glob("*.png"))
