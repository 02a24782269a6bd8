"""How much memory is left, of the machine and in a container, as the kernel's files say it."""

import math
import sys
from types import SimpleNamespace

import pytest

from depth_normal.model_loader.comfy import devices
from depth_normal.model_loader.comfy.devices import free_main_memory

GIB = 2**30
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows is asked in another way")

V2_MOUNT = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid,nodev,noexec,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1_MOUNT = "35 31 0:32 {root} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory"


class Machine:
    """The files of a machine with 16 GiB available and 2 GiB of swap."""

    def __init__(self, root):
        self.root = root
        self.write("proc/meminfo", f"MemTotal: {32 * 2**20} kB\nMemAvailable: {16 * 2**20} kB\nSwapFree: {2 * 2**20} kB\n")

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text(text)

    def process(self, groups, *mounts):
        self.write("proc/self/cgroup", groups)
        self.write("proc/self/mountinfo", "\n".join(["22 1 254:0 / / rw,relatime - ext4 /dev/vda rw", *mounts, ""]))

    def group(self, folder, stat, **files):
        stat = "\n".join(f"{name} {value}" for name, value in stat.items())
        for name, value in {"stat": stat, **files}.items():
            self.write(f"sys/fs/cgroup/{folder}/memory.{name}", f"{value}\n")

    def v2(self, group, limit, used, reclaimable=0, **more):
        stat = {"anon": used, "inactive_file": reclaimable // 2, "active_file": reclaimable // 4, "slab_reclaimable": reclaimable // 4}
        more = {name.replace("_", "."): value for name, value in more.items()}
        self.group(group, {**stat, "shmem": 7}, max=limit, current=used, **more)

    def v1(self, group, limit, used, reclaimable=0, both=None):
        stat = {"inactive_file": 5, "total_inactive_file": reclaimable // 2, "total_active_file": reclaimable // 2}
        of_both = {} if both is None else {"memsw.limit_in_bytes": both[0], "memsw.usage_in_bytes": both[1]}
        self.group(f"memory/{group}", stat, limit_in_bytes=limit, usage_in_bytes=used, **of_both)

    def free(self):
        return free_main_memory(self.root) / GIB


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def test_a_machine_without_control_groups_and_one_that_says_nothing(machine, tmp_path):
    assert machine.free() == 18
    machine.process("0::/\n")
    assert machine.free() == 18
    assert free_main_memory(tmp_path / "other") == math.inf


def test_what_is_used_of_a_containers_limit_is_not_free(machine):
    machine.process("0::/\n", V2_MOUNT.format(root="/"))
    machine.v2("", 8 * GIB, 5 * GIB, swap_max=0, swap_current=0)
    assert machine.free() == 3
    machine.v2("", 8 * GIB, 5 * GIB, reclaimable=2 * GIB, swap_max=0, swap_current=0)
    assert machine.free() == 5, "what is kept of files can be had"
    machine.v2("", 8 * GIB, 9 * GIB, swap_max=0, swap_current=0)
    assert machine.free() == 0
    machine.v2("", "max", 5 * GIB, swap_max=0, swap_current=0)
    assert machine.free() == 18


def test_swap_that_a_container_may_use(machine):
    machine.process("0::/\n", V2_MOUNT.format(root="/"))
    machine.v2("", 8 * GIB, 5 * GIB, swap_max=3 * GIB, swap_current=2 * GIB)
    assert machine.free() == 4
    machine.v2("", 8 * GIB, 5 * GIB, swap_max="max", swap_current=2 * GIB)
    assert machine.free() == 5, "the machine has no more"


def test_the_least_of_all_groups_around_the_process_counts(machine):
    """As systemd has them: a user's slice, a service in it."""
    machine.process("0::/user.slice/app.slice/comfyui.service\n", V2_MOUNT.format(root="/"))
    machine.v2("user.slice/app.slice/comfyui.service", "max", 2 * GIB)
    machine.v2("user.slice/app.slice", 12 * GIB, 3 * GIB, swap_max=0)
    machine.v2("user.slice", 10 * GIB, 4 * GIB, swap_max=0)
    machine.v2("other.slice", GIB, GIB, swap_max=0)
    assert machine.free() == 6


@pytest.mark.parametrize(
    ("path", "mounted"),
    [("/docker/0a1b", "/docker/0a1b"), ("/", "/"), ("/../other", "/"), ("/docker/0a1b", "/../../x"), ("/docker/0a1bc", "/docker/0a1b")],
)
def test_a_container_sees_its_own_group_at_the_top(machine, path, mounted):
    machine.process(f"0::{path}\n", V2_MOUNT.format(root=mounted))
    machine.v2("", 8 * GIB, 5 * GIB, swap_max=0)
    assert machine.free() == 3


def test_version_1_beside_version_2(machine):
    groups = "9:name=systemd:/\n4:memory:/docker/0a1b\n3:cpu,cpuacct:/docker/0a1b\n0::/docker/0a1b\n"
    machine.process(
        groups, V1_MOUNT.format(root="/docker/0a1b"), V2_MOUNT.format(root="/").replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")
    )
    unlimited = 9223372036854771712
    machine.v1("", unlimited, 5 * GIB, both=(unlimited, 5 * GIB))
    assert machine.free() == 18
    machine.v1("", 8 * GIB, 5 * GIB, reclaimable=GIB)
    assert machine.free() == 6, "with the machine's swap"
    machine.v1("", 8 * GIB, 5 * GIB, reclaimable=GIB, both=(8 * GIB, 6 * GIB))
    assert machine.free() == 3, "memory and swap have one limit"


def test_version_1_in_groups_of_groups(machine):
    machine.process("4:memory:/a/b\n", V1_MOUNT.format(root="/"))
    machine.v1("a/b", 12 * GIB, GIB, both=(12 * GIB, GIB))
    machine.v1("a", 8 * GIB, 5 * GIB, both=(8 * GIB, 5 * GIB))
    assert machine.free() == 3


@pytest.mark.parametrize("text", ["", "nonsense", "max max", "-", "nan"])
def test_files_that_say_nothing(machine, text):
    machine.process("0::/\n", V2_MOUNT.format(root="/"))
    for name in ("max", "current", "stat", "swap.max"):
        machine.write(f"sys/fs/cgroup/memory.{name}", text)
    assert machine.free() == 18


def test_this_machine():
    assert free_main_memory() > 2**27


def test_comfyui_in_a_container_has_what_the_container_has_left(monkeypatch):
    """Its own figure is the machine's."""

    monkeypatch.setitem(sys.modules, "comfy.model_management", SimpleNamespace(get_free_memory=lambda _device: 16 * GIB))
    for left in (3 * GIB, 30 * GIB):
        monkeypatch.setattr(devices, "free_main_memory", lambda left=left: float(left))
        assert devices.available_main_memory() == min(left, 16 * GIB)
