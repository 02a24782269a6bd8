"""How much memory is left, of the machine and in a container, as the kernel's files say it."""

import math
import os
import sys
from types import SimpleNamespace

import pytest

from depth_normal.model_loader.comfy import devices
from depth_normal.model_loader.comfy.devices import free_main_memory

GIB = 2**30
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows is asked in another way")

V2_MOUNT = "30 23 0:26 {} /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "35 31 0:32 {} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory"
UNIFIED_MOUNT = V2_MOUNT.format("/").replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
UNLIMITED = "9223372036854771712"


def v2(limit, used, reclaimable=0, swap=()):
    """The files of a control group, by GiB; `swap`: its limit, and what is used."""
    stat = {"anon": used, "inactive_file": reclaimable / 2, "active_file": reclaimable / 4, "slab_reclaimable": reclaimable / 4, "shmem": 1}
    return {"stat": stat, "max": limit, "current": used, **dict(zip(("swap.max", "swap.current"), swap, strict=False))}


def v1(limit, used, reclaimable=0, both=()):
    """As `v2`; `both`: the limit of memory and swap together, and what is used."""
    stat = {"inactive_file": 1, "total_inactive_file": reclaimable / 2, "total_active_file": reclaimable / 2}
    of_both = dict(zip(("memsw.limit_in_bytes", "memsw.usage_in_bytes"), both, strict=False))
    return {"stat": stat, "limit_in_bytes": limit, "usage_in_bytes": used, **of_both}


def text(value):
    if isinstance(value, dict):
        return "".join(f"{name} {text(each)}" for name, each in value.items())
    return f"{value if isinstance(value, str) else int(value * GIB)}\n"


@pytest.fixture
def free(tmp_path):
    """What is free, in GiB, of 16 GiB and 2 GiB of swap, by the process's groups, their mounts, and their files by folder."""

    def write(path, content):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(os.fsencode(content))

    def free(groups=None, *mounts, **folders):
        write("proc/meminfo", f"MemTotal: {32 * 2**20} kB\nMemAvailable: {16 * 2**20} kB\nSwapFree: {2 * 2**20} kB\n")
        if groups is not None:
            write("proc/self/cgroup", groups)
            write("proc/self/mountinfo", "\n".join(["22 1 254:0 / / rw,relatime - ext4 /dev/vda rw", *mounts, ""]))
        for folder, files in folders.items():
            for name, value in files.items():
                write(f"sys/fs/cgroup/{folder}/memory.{name}", text(value))
        return free_main_memory(tmp_path) / GIB

    return free


def test_a_machine_without_control_groups_and_one_that_says_nothing(free, tmp_path):
    assert free() == free("0::/\n") == free("") == 18
    assert free_main_memory(tmp_path / "other") == math.inf


@pytest.mark.parametrize(
    ("files", "left"),
    [
        pytest.param(v2(8, 5, swap=(0, 0)), 3, id="what is used is not free"),
        pytest.param(v2(8, 5, reclaimable=2, swap=(0, 0)), 5, id="what is kept of files can be had"),
        pytest.param(v2(8, 9, swap=(0, 0)), 0, id="nothing"),
        pytest.param(v2("max", 5, swap=(0, 0)), 18, id="no limit"),
        pytest.param(v2(8, 5, swap=(3, 2)), 4, id="swap that it may use"),
        pytest.param(v2(8, 5, swap=("max", 2)), 5, id="the machine has no more swap"),
        *(
            pytest.param(dict.fromkeys(("max", "current", "stat", "swap.max"), word), 18, id=f"files that say nothing: {word!r}")
            for word in ("", "nonsense", "max max", "-", "nan")
        ),
    ],
)
def test_a_container_of_version_2(free, files, left):
    assert free("0::/\n", V2_MOUNT.format("/"), **{"": files}) == left


@pytest.mark.parametrize("name", ["Disk\u2028No\\0401", "M\udcfcsik", "a\x85\xa0b"])
def test_a_drive_of_any_name_is_mounted(free, name):
    drive = f"40 22 8:1 / /media/{name} rw - vfat /dev/sda1 rw"
    assert free("0::/\n", drive, V2_MOUNT.format("/"), **{"": v2(8, 5, swap=(0,))}) == 3


def test_the_least_of_all_groups_around_the_process_counts(free):
    """As systemd has them: a user's slice, a service in it."""
    folders = {
        "user.slice/app.slice/comfyui.service": v2("max", 2),
        "user.slice/app.slice": v2(12, 3, swap=(0,)),
        "user.slice": v2(10, 4, swap=(0,)),
        "other.slice": v2(1, 1, swap=(0,)),
    }
    assert free("0::/user.slice/app.slice/comfyui.service\n", V2_MOUNT.format("/"), **folders) == 6
    assert free("4:memory:/a/b\n", V1_MOUNT.format("/"), **{"memory/a/b": v1(12, 1, both=(12, 1)), "memory/a": v1(8, 5, both=(8, 5))}) == 3


@pytest.mark.parametrize(
    ("path", "mounted"),
    [("/docker/0a1b", "/docker/0a1b"), ("/", "/"), ("/../other", "/"), ("/docker/0a1b", "/../../x"), ("/docker/0a1bc", "/docker/0a1b")],
)
def test_a_container_sees_its_own_group_at_the_top(free, path, mounted):
    assert free(f"0::{path}\n", V2_MOUNT.format(mounted), **{"": v2(8, 5, swap=(0,))}) == 3


@pytest.mark.parametrize(
    ("files", "left"),
    [
        pytest.param(v1(UNLIMITED, 5, both=(UNLIMITED, 5)), 18, id="no limit"),
        pytest.param(v1(8, 5, reclaimable=1), 6, id="with the machine's swap"),
        pytest.param(v1(8, 5, reclaimable=1, both=(8, 6)), 3, id="memory and swap have one limit"),
    ],
)
def test_version_1_beside_version_2(free, files, left):
    groups = "9:name=systemd:/\n4:memory:/docker/0a1b\n3:cpu,cpuacct:/docker/0a1b\n0::/docker/0a1b\n"
    assert free(groups, V1_MOUNT.format("/docker/0a1b"), UNIFIED_MOUNT, memory=files) == left


def test_this_machine():
    assert free_main_memory() > 2**27


def test_comfyui_in_a_container_has_what_the_container_has_left(monkeypatch):
    """Its own figure is the machine's."""
    monkeypatch.setitem(sys.modules, "comfy.model_management", SimpleNamespace(get_free_memory=lambda _device: 16 * GIB))
    for left in (3 * GIB, 30 * GIB):
        monkeypatch.setattr(devices, "free_main_memory", lambda left=left: float(left))
        assert devices.available_main_memory() == min(left, 16 * GIB)
