"""ComfyUI's folders without ComfyUI."""

import sys
import types

import pytest

from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.nodes import depth_maps, diffusion, normal_maps
from tests.pretend import Pretend


@pytest.fixture(autouse=True, scope="module")
def quickly_loaded(tiny_at_hand):
    """Nodes load the pack's own model in most tests."""


@pytest.fixture(autouse=True)
def small_by_default(small_tiny):
    """Nodes are not about what it sees."""


@pytest.fixture
def pretend(monkeypatch):
    """Puts a model that gives an estimate, or this depth, in place of those of the old nodes and the diffusion nodes; gives the model."""

    def use(known, quantity=Quantity.DISPARITY, **more):
        model = Pretend(known if isinstance(known, Estimate) else Estimate(known, quantity, **more))
        for module in (depth_maps, diffusion, normal_maps):
            monkeypatch.setattr(module, "load_model", model)
        return model

    return use


@pytest.fixture
def comfyui(tmp_path, monkeypatch):
    """ComfyUI's folders below a temporary one."""
    module = types.ModuleType("folder_paths")
    module.get_folder_paths = lambda name: []
    module.models_dir = str(tmp_path / "models")
    for kind in ("input", "output", "temp"):
        (tmp_path / kind).mkdir()
        setattr(module, f"get_{kind}_directory", lambda kind=kind: str(tmp_path / kind))
    monkeypatch.setitem(sys.modules, "folder_paths", module)
    return tmp_path
