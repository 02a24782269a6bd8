"""What a first image waits for besides torch: modules are counted, for they do not depend on the machine as seconds do."""

import gc
import json
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import depth_normal
from depth_normal.app import cli
from depth_normal.app.console.terminal import quoted

ESTIMATE = """
import json, sys
import torch, numpy
known = set(sys.modules)
from depth_normal.app import cli
assert cli.main(sys.argv[1:]) == 0
modules = sorted(set(sys.modules) - known)

try:
    import resource
except ImportError:  # Windows
    resource = None
faults = []
for run in range(4):
    before = resource and resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    assert cli.main([*sys.argv[1:], "--overwrite"]) == 0
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before if resource else 0)
print(json.dumps([modules, faults]))
"""


@pytest.mark.slow("starts another process")
def test_estimate_imports_torch_and_little_else_and_keeps_memory_for_the_next_image(tmp_path):
    """With the pack's own model; transformers, huggingface_hub and sympy would each take longer than all that is here."""
    images = [str(tmp_path / name) for name in ("a.png", "b.png", "c.png")]
    for name in images:
        Image.linear_gradient("L").resize((960, 640)).convert("RGB").save(name)
    words = ["estimate", *images, "--out", str(tmp_path / "out"), "--model", "tiny", "--device", "cpu"]
    run = subprocess.run([sys.executable, "-c", ESTIMATE, *words], capture_output=True, text=True, check=True)
    modules, faults = json.loads(run.stdout.splitlines()[-1])
    # Three such images in fresh pages of 4 KiB take 20,000 faults and more; only glibc can be told to keep memory.
    assert min(faults) < 8000 or platform.libc_ver()[0] != "glibc"
    packages = {name.partition(".")[0] for name in modules} - sys.stdlib_module_names
    assert "depth_normal" in packages
    unexpected = {each for each in packages if not each.startswith("_")} - {"depth_normal", "PIL", "cv2", "isal", "safetensors", "tqdm"}
    assert unexpected <= {"torch", "numpy", "sympy", "mpmath"}
    if tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13):  # older ones import sympy for every network without memory
        assert unexpected <= {"torch", "numpy"}
        assert len([name for name in modules if name.startswith("torch.")]) <= 3, "import less of torch, or where it is used"
        others = [name for name in modules if not name.startswith("depth_normal")]
        assert len(others) < 180


LIGHT = """
import json, sys
known = {name.partition(".")[0] for name in sys.modules}
for line in sys.stdin:
    for name in [name for name in sys.modules if name.startswith("depth_normal")]:
        del sys.modules[name]
    from depth_normal.app import cli
    try:
        code = cli.main(line.split())
    except SystemExit as stopped:
        code = stopped.code
    packages = {name.partition(".")[0] for name in sys.modules} - sys.stdlib_module_names - known - {"depth_normal"}
    ours = [name for name in sys.modules if name.startswith("depth_normal.")]
    slow = {"asyncio", "email.message", "http.client", "multiprocessing", "ssl", "unittest"} & sys.modules.keys()
    print("@", json.dumps([line.strip(), code, sorted(packages), ours, sorted(slow)]))
"""
CODES = {
    **dict.fromkeys(("--help", "", "--version", "estimate --help", "mesh --help-all"), 0),
    **dict.fromkeys(("estimate x.jpg", "estimate absent.jpg --out o", "estmate", "photo.jpgg"), 2),
}


def test_what_needs_no_network_imports_nothing_large(tmp_path):
    """And the help little of the standard library, and no command."""
    words = "".join(f"{line}\n" for line in CODES)
    run = subprocess.run([sys.executable, "-c", LIGHT], input=words, capture_output=True, text=True, cwd=tmp_path)
    lines = run.stdout.splitlines()
    assert f"depth-normal {depth_normal.__version__}" in lines
    found = [json.loads(line[1:]) for line in lines if line.startswith("@")]
    assert [(words, code, packages) for words, code, packages, *_ in found] == [(*each, []) for each in CODES.items()], run.stderr
    assert max(len(ours) for *_, ours, _ in found) <= 90
    *_, ours, slow = found[0]
    assert len(ours) < 30 and "depth_normal.app.commands.estimate" not in ours and not slow


@pytest.mark.parametrize(("command", "more"), [(["clean"], []), (["effect", "fog"], ["photo.jpg"])])
def test_a_command_makes_only_its_own_options(command, more):
    parser = cli._parser()
    parser.parse_args([*command, *more])
    for word in command:
        assert [name for name, each in parser.commands.items() if each._actions] == [word]
        parser = parser.commands[word]


def test_the_program_seldom_looks_for_garbage_while_it_imports(monkeypatch):
    thresholds = []
    monkeypatch.setenv("OPENCV_LOG_LEVEL", "SILENT")
    monkeypatch.setattr(gc, "set_threshold", thresholds.append)
    monkeypatch.setattr(cli, "main", lambda: 0)
    monkeypatch.setattr(cli, "exit_with", lambda code: None)
    cli.run()
    assert thresholds and thresholds[0] > 10 * 700, "what Python has by itself"


def test_a_folder_that_is_not_installed_is_the_program(tmp_path):
    """As in ComfyUI's custom_nodes, under a name that is no package's; `-S`: nothing that is installed is found."""
    (tmp_path / "Comfy UI-Depth.Normal").symlink_to(Path(depth_normal.__file__).parent)
    (tmp_path / "photo.jpg").touch()
    words = [sys.executable, "-S", "Comfy UI-Depth.Normal", "view", "photo.jpg"]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    command = f"{quoted(sys.executable)} {quoted('Comfy UI-Depth.Normal')} photo.jpg --write html --open"
    assert run.returncode == 2 and f"`{command}`" in run.stderr, run.stderr


def test_ctrl_c_while_the_commands_are_imported_ends_in_a_line():
    program = """
import sys
class Interrupts:
    def find_spec(self, name, *_):
        if name.endswith(".app.cli"):
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupts())
from depth_normal.__main__ import run
run()
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (run.returncode, run.stdout, run.stderr) == (130, "", "depth-normal: stopped\n")
