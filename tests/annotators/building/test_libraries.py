import sys
import threading
import time
import types
from concurrent.futures import ThreadPoolExecutor

import pytest

from depth_normal.annotators.building import from_diffusers, from_state_dict, from_transformers


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


def test_a_torchvision_that_does_not_fit_is_named(monkeypatch):
    """As transformers does it: its classes are looked up late."""

    class Library(types.ModuleType):
        __version__ = "4.50"

        def __getattr__(self, name):
            try:
                raise RuntimeError("operator torchvision::nms does not exist")
            except RuntimeError as error:
                raise ModuleNotFoundError(f"Could not import module {name!r}") from error

    monkeypatch.setitem(sys.modules, "transformers", Library("transformers"))
    with pytest.raises(ImportError, match=r"installed torchvision does not fit torch .*torchvision::nms.*pip uninstall torchvision"):
        from_transformers("DPTForDepthEstimation")
