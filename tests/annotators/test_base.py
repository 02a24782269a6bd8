"""What all families share: sizes, what is refused, and libraries that are broken."""

import json
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from depth_normal.annotators.base import Annotator, ModelSpec, WeightFile, checkpoint_mismatch, from_transformers, is_out_of_memory
from depth_normal.annotators.hub import from_state_dict
from depth_normal.annotators.midas_small import MidasSmall
from depth_normal.geometry.estimate import Axes, Estimate, Quantity


class Brightness(Annotator):
    """Stands in for a family: its disparity is the picture's first channel."""

    @classmethod
    def build(cls, spec, states, dtype):
        return cls(spec, nn.Conv2d(3, 1, 1).to(dtype))

    def predict(self, pixels):
        self.seen = pixels
        return Estimate(depth=pixels[:, :1] * self.factor, quantity=Quantity.DISPARITY)

    factor = 1.0


def annotator(dtype=torch.float32, **changes):
    spec = ModelSpec(id="brightness", family="test", files=(WeightFile("b.pt"),), licence="MIT", quantity=Quantity.DISPARITY, **changes)
    return Brightness.build(spec, {}, dtype)


@pytest.mark.parametrize(
    ("width", "height", "size", "expected"),
    [
        (1920, 1080, 512, (896, 512)),  # 910.2 is nearest to 28 * 32
        (1080, 1920, 512, (512, 896)),
        (640, 480, 384, (512, 384)),
        (512, 512, 384, (384, 384)),
        (1000, 999, 384, (384, 384)),
        (1, 1, 256, (256, 256)),
        (3000, 10, 64, (19200, 64)),
        (512, 512, 1, (32, 32)),  # never below one multiple
    ],
)
def test_the_short_side_is_the_size_and_the_aspect_is_kept(width, height, size, expected):
    found = annotator().network_size(height, width, size)
    assert (found[1], found[0]) == expected


def test_the_multiple_is_the_specs():
    assert annotator(multiple_of=14).network_size(480, 640, 518) == (518, 686)


def test_the_default_size_is_the_specs():
    each = annotator(default_size=64)
    assert each.estimate(torch.rand(1, 3, 100, 200)).depth.shape == (1, 1, 64, 128)
    assert each.estimate(torch.rand(1, 3, 100, 200), 96).depth.shape == (1, 1, 96, 192)


def test_the_network_sees_the_picture_unsquashed_and_in_one_batch():
    each = annotator()
    ramp = torch.linspace(0, 1, 120)[None, None, None].expand(4, 3, 60, 120)
    each.estimate(ramp, 64)
    assert each.seen.shape == (4, 3, 64, 128)
    # a ramp across the picture's width is one across the network's, pixel centres kept
    centres = (torch.arange(128) + 0.5) * (120 / 128) - 0.5
    assert torch.allclose(each.seen[2, 1, 30], (centres / 119).clamp(0, 1), atol=2e-3)


def test_a_strip_that_no_machine_can_hold_is_refused_with_its_numbers():
    # short side 7 -> 512, long side 5000 -> 365714.3, nearest multiple of 32: 365728
    with pytest.raises(ValueError, match=r"7x5000 at resolution 512 .*brightness run at 512x365728.* 64 megapixels: lower the resolution"):
        annotator().estimate(torch.zeros(1, 3, 5000, 7), 512)


def test_a_line_is_refused_by_every_family_and_a_strip_is_not():
    with pytest.raises(ValueError, match=r"20000x1 has one side more than 1000 times as long as the other: crop it"):
        annotator().estimate(torch.zeros(1, 3, 1, 20000), 32)
    assert annotator().estimate(torch.zeros(1, 3, 1, 1000), 32).depth.shape == (1, 1, 32, 32000)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
def test_a_network_that_gives_no_numbers_is_named_with_its_dtype(bad, dtype):
    each = annotator(dtype)
    each.factor = bad
    with pytest.raises(ArithmeticError, match=f"brightness in {dtype} gave depth that is not finite: use float32, or check the weights"):
        each.estimate(torch.ones(1, 3, 32, 32), 32)


def test_the_transformers_library_builds_one_network_at_a_time():
    """Its from_pretrained replaces functions of torch.nn.init and puts them back: two at once would leave the wrong ones there."""
    pytest.importorskip("transformers")
    inside, together = threading.Semaphore(1), []

    class Network:
        @classmethod
        def from_pretrained(cls, *_, **__):
            alone = inside.acquire(blocking=False)
            together.append(not alone)
            time.sleep(0.05)
            if alone:
                inside.release()
            return cls(), {"unexpected_keys": (), "missing_keys": (), "mismatched_keys": ()}

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda _: from_state_dict(Network, None, {}, "m"), range(3)))
    assert together == [False] * 3


def test_a_gpu_is_waited_for_once_a_batch(monkeypatch):
    class Both(Brightness):
        def predict(self, pixels):
            return Estimate(depth=pixels[:, :1], quantity=Quantity.DISPARITY, normals=nn.functional.normalize(pixels + 1, dim=1))

    each = Both(annotator().spec, nn.Conv2d(3, 1, 1))
    waits = []
    for name in ("__bool__", "item", "tolist", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)
        counting = lambda self, *args, name=name, original=original: waits.append(name) or original(self, *args)  # noqa: E731
        monkeypatch.setattr(torch.Tensor, name, counting)
    each.estimate(torch.rand(5, 3, 32, 32), 32)
    assert waits == ["__bool__"]


def test_the_network_is_ready_for_inference():
    network = annotator().network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())


@pytest.mark.parametrize(("licence", "expected"), [("MIT", False), ("CC-BY-NC-4.0", True), ("cc-by-nc-4.0", True), ("Apache-2.0", False)])
def test_non_commercial_licences_are_known(licence, expected):
    assert ModelSpec(id="m", family="f", files=(WeightFile("w.pt"),), licence=licence).non_commercial is expected


def test_what_a_model_gives_in_words():
    files = (WeightFile("w.pt"),)
    both = ModelSpec(id="m", family="f", files=files, licence="MIT", quantity=Quantity.METRIC_DEPTH, axes=Axes.OPENGL)
    assert both.gives == "metric_depth, normals"
    assert ModelSpec(id="m", family="f", files=files, licence="MIT", axes=Axes.SCANNET).gives == "normals"
    assert ModelSpec(id="m", family="f", files=files, licence="MIT", quantity=Quantity.DISPARITY).gives == "disparity"


def test_a_files_plain_name():
    assert WeightFile("checkpoints/depth_anything_vitl14.pth").name == "depth_anything_vitl14.pth"
    assert WeightFile("a.pt").name == "a.pt"


def test_a_mismatch_in_words():
    expected = {"a": torch.zeros(2), "b": torch.zeros(3), "c": torch.zeros(4)}
    assert checkpoint_mismatch(expected, dict(expected)) is None
    found = {"b": torch.zeros(3, 1), "c": torch.zeros(4), "y": torch.zeros(1), "x": torch.zeros(1)}
    assert checkpoint_mismatch(expected, found) == (
        "2 unexpected keys (first: x), 1 missing keys (first: a), 1 tensors of another shape (first: b, (3, 1) instead of (3,))"
    )


def test_classes_of_transformers():
    (config,) = from_transformers("DPTConfig")
    assert config.__name__ == "DPTConfig"


def test_transformers_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r"pip install 'transformers>=4\.57'") as refused:
        from_transformers("DPTConfig")
    assert "torchvision" not in str(refused.value)


BESIDE_A_BROKEN_TORCHVISION = """
import json, sys, torch
import depth_normal
from depth_normal.annotators.base import from_transformers
try:
    from_transformers("DPTForDepthEstimation")
    said = "nothing"
except ImportError as error:
    said = str(error)
small = depth_normal.load_model("midas-v2.1-small", device="cpu", weights=sys.argv[1])
depth = small.estimate(torch.rand(1, 3, 40, 60), 32).depth
print(json.dumps({"said": said, "shape": list(depth.shape), "finite": bool(torch.isfinite(depth).all())}))
"""


@pytest.fixture
def beside_a_broken_torchvision(tmp_path):
    """Environment of a process with a torchvision that does not fit torch: the installed one, else one that fails as such a one does."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTEST_CURRENT_TEST"}
    if hasattr(sys.modules.get("torchvision"), "stand_in"):  # tests/mend_torchvision.py found that it does not fit
        return environment
    folder = tmp_path / "site" / "torchvision"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text('raise RuntimeError("operator torchvision::nms does not exist")\n')
    record = tmp_path / "site" / "torchvision-0.28.0.dist-info"
    record.mkdir()
    (record / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    paths = [str(tmp_path / "site"), environment.get("PYTHONPATH", "")]
    return environment | {"PYTHONPATH": os.pathsep.join(path for path in paths if path)}


def test_a_torchvision_that_does_not_fit_is_named_and_the_small_model_works_all_the_same(beside_a_broken_torchvision, tmp_path):
    weights = tmp_path / "midas_v21_small_256.safetensors"
    save_file(MidasSmall().state_dict(), weights)
    command = [sys.executable, "-c", BESIDE_A_BROKEN_TORCHVISION, str(weights)]
    run = subprocess.run(
        command, env=beside_a_broken_torchvision, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout.splitlines()[-1])
    assert "installed torchvision does not fit torch" in answer["said"]
    assert "torchvision::nms" in answer["said"]
    assert "pip uninstall torchvision" in answer["said"]
    assert answer["shape"] == [1, 1, 40, 60]
    assert answer["finite"]


def test_a_file_has_one_source_at_most():
    with pytest.raises(ValueError, match=r"a\.pt: .* a repo_id or a url, not both; found 'x/y' and 'https://example\.org/a\.pt'"):
        WeightFile("a.pt", repo_id="x/y", url="https://example.org/a.pt")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (MemoryError(), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 17 GB)"), True),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
    ids=str,
)
def test_want_of_memory_is_known(error, expected):
    assert is_out_of_memory(error) is expected
