"""The Ray that a run starts on this machine: who can reach it, and what happens where it does not start."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from pathlib import Path
from types import SimpleNamespace
from unittest import mock
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

import pytest

from depth_normal.app import cli
from depth_normal.app.cluster import local_ray
from depth_normal.app.cluster.local_ray import import_ray, session

pytest.importorskip("ray.data", reason="Ray is not installed: pip install 'depth-normal[ray]'")
import grpc
from psutil import CONN_LISTEN, Process, pid_exists

# Of each of Ray's services one that an attacker would want, and that does nothing without arguments.
CALLS = (
    "/ray.rpc.NodeInfoGcsService/GetAllNodeInfo",
    "/ray.rpc.InternalKVGcsService/InternalKVKeys",
    "/ray.rpc.JobInfoGcsService/GetAllJobInfo",
    "/ray.rpc.NodeManagerService/RequestWorkerLease",
    "/ray.rpc.ObjectManagerService/Pull",
    "/ray.rpc.CoreWorkerService/PushTask",
)

PROGRAM = """
import json, os, sys
from depth_normal.app.cluster.local_ray import local_ray
for _ in range(2):
    with local_ray(num_cpus=1, object_store_memory=80 * 2**20) as ray:
        worker = ray.get(ray.remote(lambda: os.getpid()).remote())
        folder = ray._private.worker._global_node.get_session_dir_path()
        print(json.dumps({"token": os.environ["RAY_AUTH_TOKEN"], "folder": folder}), flush=True)
        sys.stdin.readline()
    print(json.dumps({name: os.environ.get(name) for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")}), flush=True)
"""


@pytest.fixture(scope="module", autouse=True)
def environment():
    """Ray's variables, which the import sets for its process, are gone afterwards."""
    with mock.patch.dict(os.environ):
        import_ray()
        yield


def listening(processes):
    """The addresses on which any of these processes listens."""
    found = set()
    for process in processes:
        connections = getattr(process, "net_connections", None) or process.connections
        found |= {tuple(each.laddr) for each in connections("tcp") if each.status == CONN_LISTEN}
    return found


def answers(address, token=None):
    """What a stranger hears on a port: the status of each call that is known there, and that of HTTP."""
    metadata = [("authorization", f"Bearer {token}")] if token else []
    found = set()
    with grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)]) as channel:
        for call in CALLS:
            try:
                channel.unary_unary(call)(b"", timeout=10, metadata=metadata)
                found.add("answered")
            except grpc.RpcError as error:
                found.add(error.code().name)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        with urlopen(Request(f"http://{address}/get_or_create_runtime_env", b"", headers), timeout=10):
            found.add("answered")
    except HTTPError as error:
        found.add(f"HTTP {error.code}")
    except (URLError, HTTPException, OSError):
        pass
    return found - {"UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED"}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="sockets are found in Linux's /proc")
@pytest.mark.slow("starts a Ray cluster")
def test_nobody_reaches_it_from_outside_or_without_the_token(tmp_path):
    token_file = tmp_path / "token"
    token_file.write_text("the user's own")
    # What a user may have set for a cluster is neither used nor changed.
    environment = {**os.environ, "HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN_PATH": str(token_file)}
    tokens = []
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        for _ in range(2):
            said = json.loads(run.stdout.readline())
            tokens.append(said["token"])
            tree = [Process(run.pid), *Process(run.pid).children(recursive=True)]
            ports = listening(tree)
            assert len(ports) >= 5 and {host.removeprefix("::ffff:") for host, _ in ports} == {"127.0.0.1"}
            assert not [each for each in tree if any(said["token"] in word for word in each.cmdline())]
            addresses = [f"127.0.0.1:{port}" for _, port in ports]
            with ThreadPoolExecutor(len(addresses)) as pool:
                for token in (None, "the user's own", "0" * 64):
                    heard = list(pool.map(lambda address, token=token: answers(address, token), addresses))
                    assert all(each <= {"UNAUTHENTICATED", "HTTP 401", "HTTP 403"} for each in heard), heard
                    assert {"UNAUTHENTICATED"} in heard
            assert Path(said["folder"]).stat().st_mode & 0o077 == 0
            run.stdin.write("\n")
            run.stdin.flush()
            assert json.loads(run.stdout.readline()) == {"RAY_AUTH_MODE": "disabled", "RAY_AUTH_TOKEN": None}
            assert not [path for path in Path(said["folder"]).rglob("*") if path.is_file() and said["token"].encode() in path.read_bytes()]
    assert run.returncode == 0 and len(set(tokens)) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["token"] and token_file.read_text() == "the user's own"


def test_a_ray_that_answers_strangers_is_refused():
    handler = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    service = grpc.method_handlers_generic_handler("ray.rpc.NodeInfoGcsService", {"GetClusterId": handler})
    server = grpc.server(ThreadPoolExecutor(1), handlers=[service])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with pytest.raises(RuntimeError, match=r"Ray 1.0 does not refuse a caller .*pip install -U \"ray\[data,client\]>=2.55\""):
        local_ray._check_token_is_asked_for(SimpleNamespace(__version__="1.0"), f"127.0.0.1:{port}")
    server.stop(None)


TIME_OVER = Exception("The current node timed out during startup. This could happen because ...\nmore")


def failing(tmp_path, *errors):
    """A Ray whose start fails so, each time after it has started a process; and these processes."""
    left, started = list(errors), []

    def init(**_):
        if not left:
            return SimpleNamespace(address_info={"session_dir": str(tmp_path)})
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        raise left.pop(0)

    return SimpleNamespace(init=init, shutdown=lambda: None), started


def test_a_start_that_takes_too_long_is_tried_again(tmp_path):
    ray, started = failing(tmp_path, TIME_OVER, RuntimeError("Failed to start GCS."))
    assert local_ray._start(ray, {}) == {"session_dir": str(tmp_path)}
    assert len(started) == 2 and not any(pid_exists(process.pid) for process in started), "they would slow down the next start"


def test_a_wrong_setting_is_not_tried_again(tmp_path):
    ray, started = failing(tmp_path, ValueError("too little memory"))
    with pytest.raises(ValueError, match="too little memory"):
        local_ray._start(ray, {})
    assert len(started) == 1


def test_the_command_says_that_ray_does_not_start(tmp_path, monkeypatch, capsys):
    ray, started = failing(tmp_path, *(TIME_OVER,) * 9)
    monkeypatch.setattr(import_ray(), "init", ray.init)
    (tmp_path / "a.png").write_bytes(b"...")
    assert cli.main(["estimate", str(tmp_path / "a.png"), "--out", str(tmp_path / "out"), "--model", "tiny", "--engine", "ray"]) == 2
    said = capsys.readouterr().err
    assert "Ray did not start on this machine in 3 attempts (The current node timed out " in said and "try again later" in said
    assert len(started) == 3 and "Traceback" not in said and not (tmp_path / "out").exists()


def test_a_ray_that_is_connected_already_is_used_and_kept(monkeypatch):
    ray = import_ray()
    monkeypatch.setattr(ray, "is_initialized", lambda: True)
    monkeypatch.setattr(ray, "init", lambda **_: pytest.fail("another one is started"))
    monkeypatch.setattr(ray, "shutdown", lambda: pytest.fail("it is ended"))
    with session(None) as (found, shared):
        assert found is ray and shared
