"""What the command does with memory between one image and the next."""

import json
import platform
import subprocess
import sys

import pytest
from PIL import Image

FAULTS = """
import json, resource, sys
import torch
from depth_normal.app import cli
assert cli.main(sys.argv[1:]) == 0

def faults(count=3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(count):
        torch.ones(2**24)  # 64 MiB, beyond what glibc keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults()
json.dump([faults()], sys.stderr)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc can be told to keep memory")
@pytest.mark.slow("starts other processes")
def test_an_image_gets_the_memory_of_the_one_before_it(tmp_path):
    Image.new("RGB", (48, 32), (200, 120, 40)).save(tmp_path / "a.png")
    words = ["estimate", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--model", "tiny", "--device", "cpu"]
    run = subprocess.run([sys.executable, "-c", FAULTS, *words], capture_output=True, text=True, check=True)
    (found,) = json.loads(run.stderr[run.stderr.rindex("[") :])
    # One such tensor of fresh pages of 4 KiB takes 16384 faults.
    assert found < 1000, "memory is given back to the system between images"
