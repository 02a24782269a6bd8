"""Libraries that are absent, broken or shared between threads."""

import json
import os
import subprocess
import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata

import pytest
from packaging.version import Version
from safetensors.torch import save_file

from depth_normal.annotators.building import from_diffusers, from_state_dict, from_transformers
from depth_normal.annotators.networks.midas import MidasSmall


@pytest.mark.slow("takes a second")
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


def test_transformers_absent(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ImportError, match=r'run  .*pip install "transformers>=4\.45"') as refused:
        from_transformers("DPTConfig")
    assert "torchvision" not in str(refused.value)


@pytest.mark.parametrize("version, fits", [("4.28.1", False), ("4.44.2", False), ("4.45.0.dev0", True), ("4.100", True), ("5.0", True)])
def test_an_old_transformers_is_named_with_what_is_needed(monkeypatch, version, fits):
    library = types.ModuleType("transformers")
    library.__version__, library.DPTConfig = version, object()
    monkeypatch.setitem(sys.modules, "transformers", library)
    if fits:
        assert from_transformers("DPTConfig") == (library.DPTConfig,)
        return
    with pytest.raises(ImportError, match=rf'\(version {version} is installed, 4\.45 or newer is needed\): run .*"transformers>=4\.45"'):
        from_transformers("DPTConfig")


@pytest.mark.parametrize("load, library", [(from_transformers, "transformers"), (from_diffusers, "diffusers")])
def test_a_library_that_is_too_old_for_a_class(load, library):
    pytest.importorskip(library)
    with pytest.raises(ImportError, match=rf"the {library} library cannot be imported \(.*NoSuchNetwork.*\): .*pip install .?{library}>="):
        load("NoSuchNetwork")


BESIDE_A_BROKEN_TORCHVISION = """
import json, sys, torch
import depth_normal
from depth_normal.annotators.building import from_transformers
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


@pytest.mark.slow("starts other processes")
def test_a_torchvision_that_does_not_fit_is_named_and_the_small_model_works_all_the_same(beside_a_broken_torchvision, tmp_path):
    weights = tmp_path / "midas_v21_small_256.safetensors"
    save_file(MidasSmall().state_dict(), weights)
    command = [sys.executable, "-c", BESIDE_A_BROKEN_TORCHVISION, str(weights)]
    run = subprocess.run(
        command, env=beside_a_broken_torchvision, cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=300, check=False
    )
    assert run.returncode == 0, run.stderr
    answer = json.loads(run.stdout.splitlines()[-1])
    if Version(metadata.version("transformers")) < Version("4.50"):  # does not import torchvision for a network
        assert answer["said"] == "nothing"
    else:
        assert "installed torchvision does not fit torch" in answer["said"]
        assert "torchvision::nms" in answer["said"]
        assert "pip uninstall torchvision" in answer["said"]
    assert answer["shape"] == [1, 1, 40, 60]
    assert answer["finite"]
