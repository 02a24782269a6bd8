"""Random prompts over all nodes in a real ComfyUI server, with small random weights: what fails, and whether memory stays.

    python benchmarks/soak.py DIR [--prompts 200] [--seed 0] [--comfyui HOME] [--flags=--cpu]

DIR holds the record, a line a prompt: a second call goes on where the first ended. Every prompt is a valid graph; some are cancelled
while they run, others are when they take longer than --limit. The table has the server's memory, and what went wrong: an error that
the pack words itself is an answer; any other, a server that ends, or memory that grows by a tenth in the last quarter is not: exit code 1.
ComfyUI is what `python tests/comfyui/install.py HOME` installs; HOME may also be in DEPTH_NORMAL_COMFYUI. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import runpy
import statistics
import sys
import tempfile
import time
import urllib.error
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from random_prompts import Prompts, write_images

from depth_normal.annotators.registry import MODELS

TESTS = Path(__file__).resolve().parents[1] / "tests"
sys.path.insert(0, str(TESTS.parent))  # tests import each other
MEGABYTE = 2**20
CANCELLED_SHARE = 0.1
SOON = 1.0
"""Seconds within which a cancelled prompt must end."""


def main() -> int:
    """Runs the remaining prompts and prints the table; 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="DIR", type=Path)
    parser.add_argument("--prompts", type=int, default=200, metavar="N")
    parser.add_argument("--distinct", type=int, metavar="N", help="the same N prompts again and again: memory that grows is lost")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--limit", type=float, default=20.0, metavar="SECONDS", help="a prompt that takes longer is cancelled")
    parser.add_argument("--at-most", type=float, default=270.0, metavar="SECONDS", help="begin no prompt after that; the next call goes on")
    parser.add_argument("--gigabytes", type=float, default=16.0, help="what the server may take of memory, all its libraries included")
    home = os.environ.get("DEPTH_NORMAL_COMFYUI")
    parser.add_argument("--comfyui", type=Path, metavar="HOME", default=home, required=not home, help="a folder with ComfyUI/ and venv/")
    parser.add_argument("--flags", default="--cpu", help="ComfyUI's, such as --flags='--cpu --novram'")
    arguments = parser.parse_args()
    home = arguments.comfyui or SimpleNamespace(**runpy.run_path(str(TESTS / "comfyui" / "conftest.py"))).COMFYUI_HOME
    if not (home / "ComfyUI" / "main.py").is_file() or not (home / "venv" / "bin" / "python").is_file():
        parser.error(
            f"no ComfyUI in {home} (ComfyUI/ and venv/); install one by  python tests/comfyui/install.py  or name it: --comfyui HOME"
        )
    arguments.folder.mkdir(parents=True, exist_ok=True)
    record = arguments.folder / f"seed{arguments.seed}.jsonl"
    done = [Outcome(**json.loads(line)) for line in record.read_text().splitlines()] if record.exists() else []
    if len(done) < arguments.prompts:
        done += _soak(arguments, record, len(done))
    return _report(done, arguments.prompts)


@dataclass(frozen=True)
class Outcome:
    """A prompt's outcome.

    `start` is the number of its server's first prompt, `rss` is in MB, and `cancel` the seconds from cancelling until it ended.
    """

    number: int
    node: str
    ended: str
    words: str
    seconds: float
    rss: float
    cancel: float | None
    start: int


def _soak(arguments: argparse.Namespace, record: Path, first: int) -> list[Outcome]:
    comfyui = SimpleNamespace(**runpy.run_path(str(TESTS / "comfyui" / "conftest.py")))
    runpy.run_path(str(TESTS / "mend_torchvision.py"))
    python = arguments.comfyui / "venv" / "bin" / "python"
    packs = [TESTS / name for name in ("tiny_depth.py", "tiny_diffusion.py", "tiny_old_nodes.py")]
    begun, done = time.monotonic(), []
    flags = arguments.flags.split()
    with (
        tempfile.TemporaryDirectory(dir=arguments.folder) as folder,
        record.open("a") as kept,
        comfyui.serving(Path(folder, "server"), python, packs, flags=flags) as server,
    ):
        resource.prlimit(server.process.pid, resource.RLIMIT_AS, (int(arguments.gigabytes * 2**30),) * 2)
        ready = _write_weights(server)
        prompts = Prompts(server.request("/object_info"), write_images(server.base / "input"), ready)
        for number in range(first, arguments.prompts):
            if time.monotonic() - begun > arguments.at_most:
                break
            done.append(_outcome(server, prompts, arguments, number, first))
            kept.write(json.dumps(asdict(done[-1])) + "\n")
            kept.flush()
            if server.process.poll() is not None:
                break
        (arguments.folder / f"server{first}.log").write_text(server.log)
    return done


def _write_weights(server: Any) -> set[str]:
    """Writes small random weights of every kind to the server's folders; returns their names in its lists."""
    folder = server.base / "models" / "depth_normal"
    depth, old, diffusion = (
        SimpleNamespace(**runpy.run_path(str(TESTS / f"tiny_{name}.py"))) for name in ("depth", "old_nodes", "diffusion")
    )
    ids = {"tiny"}
    for spec in MODELS.values():
        if spec.family in depth.FAMILIES and not any(size in spec.id for size in ("giant", "nested")):
            depth.write_file(depth.shrunk(spec), _place(folder, spec.file))
        elif spec.id in old.IDS:
            old.write_files(old.shrunk(spec), folder)
        elif spec.family in diffusion.FAMILIES:
            diffusion.write_files(diffusion.shrunk(spec), server.base / "models" / "diffusers")
        else:
            continue
        ids.add(spec.id)
    for node in ("Test_UseTinyDepthModels", "Test_UseTinyOldNodes", "Test_UseTinyModels"):
        history = server.run({"1": {"class_type": node, "inputs": {}}})
        assert history["status"]["status_str"] == "success", history["status"]["messages"]
    return ids | {file.name for model_id in ids for file in MODELS[model_id].files if not file.bundled}


def _place(folder: Path, file: Any) -> Path:
    return folder / file.repo_id / file.filename if file.repo_id else folder / file.name


def _outcome(server: Any, prompts: Prompts, arguments: argparse.Namespace, number: int, start: int) -> Outcome:
    node, graph = prompts.draw(arguments.seed, number % (arguments.distinct or arguments.prompts))
    rng, begun, cancel = random.Random(f"{arguments.seed} cancel {number}"), time.monotonic(), None
    patience = rng.uniform(0.02, 2) if rng.random() < CANCELLED_SHARE else arguments.limit
    try:
        asked = server.submit(graph)
        try:
            history = server.wait(asked, patience)
        except TimeoutError:
            server.request("/interrupt", {})
            stopped = time.monotonic()
            history = server.wait(asked, 120)
            cancel = time.monotonic() - stopped
        ended, words = _end_of(history)
    except urllib.error.HTTPError as refused:
        ended, words = "refused", _refusal(refused)
    except (TimeoutError, OSError) as error:
        ended, words = "LOST", f"{type(error).__name__}: {error}"[-500:] + json.dumps(graph)
    if ended.isupper():
        words += f"\n{json.dumps(graph)}"
    return Outcome(number, node, ended, words, round(time.monotonic() - begun, 2), _rss(server.process.pid), cancel, start)


def _end_of(history: dict[str, Any]) -> tuple[str, str]:
    """How a prompt ended; in capitals if it must not."""
    kinds = dict(map(tuple, history["status"]["messages"]))
    if "execution_interrupted" in kinds:
        return "cancelled", f"in {kinds['execution_interrupted'].get('node_type')}"
    if "execution_error" not in kinds:
        return "done", ""
    error = kinds["execution_error"]
    words = f"{error['node_type']}: {error['exception_type']}: {error['exception_message'].strip()}"
    return ("worded", words) if _is_worded(error) else ("FAILED", f"{words}\n{''.join(error['traceback'][-3:])}")


def _is_worded(error: dict[str, Any]) -> bool:
    """Whether code of the pack raised it deliberately; also true of errors in ComfyUI's own nodes, which are not the pack's."""
    frames = [frame for frame in error["traceback"] if frame.lstrip().startswith("File ")]
    if not any("/custom_nodes/" in frame or "/ComfyUI-Depth-Normal/" in frame for frame in frames):
        return "nodes.py" in frames[-1] or "comfy_extras" in frames[-1]
    last = frames[-1].strip().splitlines()
    return ("/custom_nodes/" in last[0]) and len(last) > 1 and last[1].lstrip().startswith("raise ")


def _refusal(refused: urllib.error.HTTPError) -> str:
    answer = json.loads(refused.read())
    errors = [error for node in answer.get("node_errors", {}).values() for error in node["errors"]]
    return "; ".join(f"{error['message']}: {error['details']}" for error in errors) or str(answer.get("error"))


def _rss(process: int) -> float:
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0.0
    return round(pages * resource.getpagesize() / MEGABYTE, 1)


def _report(done: list[Outcome], wanted: int) -> int:
    """Prints the table; returns 1 if something is wrong."""
    print(f"{len(done)} of {wanted} prompts:", dict(Counter(each.ended for each in done)))
    print("\n| prompts | MB at the end of each, median | least | most | seconds |\n| --- | --- | --- | --- | --- |")
    for at in range(0, len(done), 20):
        part = done[at : at + 20]
        sizes, seconds = [each.rss for each in part], sum(each.seconds for each in part)
        middle, least, most = (f"{size:.0f}" for size in (statistics.median(sizes), min(sizes), max(sizes)))
        print(f"| {at} to {at + len(part) - 1} | {middle} | {least} | {most} | {seconds:.0f} |")
    cancels = sorted(each.cancel for each in done if each.cancel is not None)
    if cancels:
        print(f"\n{len(cancels)} cancelled: {statistics.median(cancels):.2f} s until the end, at most {cancels[-1]:.2f} s")
    problems = [f"{each.number} {each.node}: {each.ended}: {each.words}" for each in done if each.ended.isupper()]
    problems += [f"{each.number} {each.node}: cancelled, it ended after {each.cancel:.1f} s" for each in done if (each.cancel or 0) > SOON]
    for problem in problems:
        print("PROBLEM", problem)
    growth = _growth(done)
    if growth is not None:
        print(f"memory: {growth:+.0%} from the third quarter of a server's prompts to the last")
    return int(bool(problems) or (growth or 0) > 0.1)


def _growth(done: list[Outcome]) -> float | None:
    """Memory growth of the server that ran longest, after its warm-up."""
    starts = Counter(each.start for each in done)
    if not starts or max(starts.values()) < 30:
        return None
    sizes = [each.rss for each in done if each.start == starts.most_common(1)[0][0]]
    quarter = len(sizes) // 4
    return statistics.median(sizes[-quarter:]) / statistics.median(sizes[-2 * quarter : -quarter]) - 1


if __name__ == "__main__":
    sys.exit(main())
