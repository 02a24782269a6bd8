"""What the page asks of earlier runs, as ComfyUI's history holds them."""

import sys
import threading
from types import ModuleType, SimpleNamespace

import pytest
import torch

from depth_normal.nodes.live import KEY, NOTES, image_payload, last_runs


@pytest.fixture
def history(comfyui, monkeypatch):
    """The history of a server."""
    found, module = {}, ModuleType("server")
    queue = SimpleNamespace(history=found, mutex=threading.Lock())
    module.PromptServer = SimpleNamespace(instance=SimpleNamespace(prompt_queue=queue))
    monkeypatch.setitem(sys.modules, "server", module)
    return found


def ran(graph, outputs, nodes=None):
    nodes = {node_id: {"class_type": "DepthNormal_Relight"} for node_id in nodes or outputs}
    return {"prompt": (0, "prompt", nodes, {"extra_pnginfo": {"workflow": {"id": graph}}}, []), "outputs": outputs}


def test_the_last_run_of_each_node_of_a_graph(history):
    first, second = (image_payload(torch.rand(1, 3, 4, 6)) for _ in range(2))
    history["1"] = ran("graph", {"7": {KEY: [first]}, "5:3": {KEY: [first, {}], NOTES: ["a", "a", "b"]}})
    history["2"] = ran("graph", {"7": {KEY: [second]}}, nodes=["7", "8"])
    history["3"] = ran("another", {"7": {KEY: [first]}})
    history["4"] = {"prompt": (0, "script", {"7": {}}, {}, []), "outputs": {"7": {KEY: [first]}}}
    runs = last_runs({"graph": "graph"})
    assert runs["7"] == {"type": "DepthNormal_Relight", "shown": [second], "notes": []}
    assert runs["5:3"] == {"type": "DepthNormal_Relight", "shown": [first], "notes": ["a", "b"]}
    assert runs["8"] == {"type": "DepthNormal_Relight", "shown": [], "notes": []}
    assert last_runs({"graph": "new"}) == last_runs({}) == {}


def test_what_is_no_longer_on_the_disk_is_not_shown(history, comfyui):
    payload = image_payload(torch.rand(1, 3, 4, 6))
    history["1"] = ran("graph", {"7": {KEY: [payload]}})
    (comfyui / "temp" / payload["image"]["filename"]).unlink()
    assert last_runs({"graph": "graph"})["7"]["shown"] == []
