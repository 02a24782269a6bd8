"""What is on the disk, told at once and again and again."""

import time

import pytest

from depth_normal.annotators.registry import MODELS
from depth_normal.model_loader.weights import find as installed


@pytest.fixture
def home(tmp_path, monkeypatch):
    for name in ("DEPTH_NORMAL_HOME", "TORCH_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr("depth_normal.model_loader.weights.find.find_in_hub_cache", lambda *_: None)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path / "torch"))
    installed.forget()
    return tmp_path / "DEPTH_NORMAL_HOME"


def put(folder, name):
    from safetensors.torch import save_file
    from torch import zeros

    folder.mkdir(parents=True, exist_ok=True)
    save_file({"a": zeros(1)}, folder / name)


def test_the_packs_own_model_is_always_there(home):
    assert installed.models_on_disk() == {"tiny"} and not home.exists()


def test_a_file_that_comes_is_told_after_seconds_or_at_once_when_asked_to_forget(home):
    assert installed.models_on_disk() == {"tiny"}
    put(home / "Ruicheng" / "moge-2-vits-normal", MODELS["moge-2-vits-normal"].file.name)
    assert installed.models_on_disk() == {"tiny"}, "the answer holds for a while"
    installed.forget()
    assert installed.models_on_disk() == {"tiny", "moge-2-vits-normal"}


def test_a_model_of_two_files_needs_both(home):
    first, second = MODELS["leres-boost"].files
    put(home, first.name)
    assert installed.models_on_disk() == {"tiny", "leres"}
    put(home, second.name)
    installed.forget()
    assert installed.models_on_disk() == {"tiny", "leres", "leres-boost"}


def test_asking_again_costs_nothing(home):
    installed.models_on_disk()
    start = time.perf_counter()
    for _ in range(1000):
        installed.models_on_disk()
    assert time.perf_counter() - start < 0.2


def test_slow_folders_are_looked_through_the_less_often(home, monkeypatch):
    clock = iter([0.0, 2.0, 50.0, 70.0, 70.0])
    monkeypatch.setattr(installed.time, "monotonic", lambda: next(clock))
    asked = []
    monkeypatch.setattr(installed, "find_all", lambda *_: asked.append(1) or frozenset())
    installed.models_on_disk()
    first = len(asked)
    installed.models_on_disk()
    assert len(asked) == first, "two seconds hold for a minute"
    installed.models_on_disk()
    assert len(asked) == 2 * first
