"""What every command and block that a document shows gives, to be compared between two states of the pack.

    python tests/command_snapshots.py save DIR [PAGE ...]
    python tests/command_snapshots.py compare DIR [PAGE ...]

`save` runs the steps of each page in order, with tiny networks, and writes DIR/<page>.json: for each step the exit code, its words, and the
files that it made, changed or removed, with their numbers. `compare` runs them again and prints what differs (exit code 1). Times and
folders are left out of words; numbers are compared to a thousandth of their range. With another state of the pack on PYTHONPATH (as
`depth_normal`), this very file measures that state, by its own documents.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import json
import os
import re
import shlex
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from depth_normal.app import cli
from depth_normal.geometry.files import FileFormatError, load_estimate, read_image
from tests import mend_torchvision, pages  # noqa: F401

SAMPLES, TOLERANCE = 64, 1e-3
_TIMES = re.compile(r"\d[\d.,:]*(?= ?(?:s|ms|seconds|min|\w+/s|\w+ a second)\b)|\d+:\d\d(?::\d\d)?")


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("action", choices=("save", "compare"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("pages", nargs="*", help="such as docs/effects.md (default: all)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    os.environ.pop("DISPLAY", None)  # --open
    differences = count = 0
    with tempfile.TemporaryDirectory() as home:
        os.environ["DEPTH_NORMAL_HOME"] = home
        pages.use_small_networks(Path(home) / "random.pt", setattr)
        for page in pages.DOCUMENTS:
            name = page.relative_to(pages.ROOT).as_posix()
            if (arguments.pages and name not in arguments.pages) or name.startswith(("docs/contributing/", "blender/")):
                continue
            path = folder / f"{name.replace('/', '_')}.json"
            steps = steps_of(page)
            count += len(steps)
            if arguments.action == "save":
                path.write_text(json.dumps(steps, indent=1), "utf-8")
                continue
            for found in differences_of(json.loads(path.read_text("utf-8")) if path.exists() else [], steps):
                differences += 1
                print(f"{name}: {found}")
    print(f"{count} steps, {differences} differences")
    return int(differences > 0)


def steps_of(page: Path) -> list[dict[str, Any]]:
    """Runs the steps of a page in a folder of their own; returns what each gave."""
    results, defined, before = [], {}, Path.cwd()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages.lay_out(page, folder)
        os.chdir(folder)
        try:
            known = numbers_of_files(folder)
            for step in pages.steps_of(page):
                if pages.why_not_run(step) is None and (step.kind == "python" or step.text.startswith("depth-normal ")):
                    result = {"step": step.text, **run(step, defined, folder)}
                    files = numbers_of_files(folder)
                    result["files"] = {each: files[each] for each in files if files[each] != known.get(each)}
                    result["removed"] = sorted(known.keys() - files.keys())
                    results.append(result)
                    known = files
        finally:
            os.chdir(before)
    return results


def run(step: pages.Step, defined: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Exit code and words of a step; of Python also the numbers of the tensors that it defines."""
    out, error, code = io.StringIO(), io.StringIO(), 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        try:
            if step.kind == "python":
                exec(compile(step.text, "page", "exec"), defined)
            else:
                words = shlex.split(re.split(r" [|<>&;] ?", step.text)[0])[1:]
                code = cli.main(list(itertools.chain(*(sorted(map(str, Path().glob(each))) if "*" in each else [each] for each in words))))
        except SystemExit as end:
            code = end.code
        except Exception:  # noqa: BLE001  what a step says is compared, too
            error.write(traceback.format_exc(limit=0))
    return {"code": code, "out": words_of(out.getvalue(), folder), "error": words_of(error.getvalue(), folder)}


def words_of(text: str, folder: Path) -> list[str]:
    """Lines without folders, times and progress bars, each once, in order: threads say theirs in any order."""
    text = text.replace(str(folder), "HERE").replace(os.environ["DEPTH_NORMAL_HOME"], "HOME").replace(str(pages.ROOT), "PACK")
    lines = (_TIMES.sub("N", line.rpartition("\r")[2]).rstrip() for line in text.splitlines())
    return sorted({line for line in lines if line and "it/s" not in line and "%|" not in line})


def numbers_of_files(folder: Path) -> dict[str, list[float]]:
    """Some numbers of each file's contents, by its path."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".programs" not in path.parts)
    return {path.relative_to(folder).as_posix(): numbers_of(path) for path in paths}


def numbers_of(path: Path) -> list[float]:
    """Shapes and evenly spaced values of the maps or the image in a file; of other files about their size."""
    arrays: list[np.ndarray] = []
    with contextlib.suppress(FileFormatError, ValueError, OSError, ImportError, KeyError):
        if path.suffix in (".npz", ".exr", ".pfm"):
            arrays = [values.float().numpy() for values in load_estimate(path).maps.values()]
    if not arrays and path.suffix in (".png", ".jpg", ".webp", ".tif", ".exr", ".hdr"):
        with contextlib.suppress(FileFormatError, ImportError):
            arrays = [read_image(path)]
    if not arrays:
        return [float(f"{path.stat().st_size:.1g}")]
    samples = [np.nan_to_num(each.ravel()[:: max(1, each.size // SAMPLES)], nan=-1.0, posinf=1e9, neginf=-1e9) for each in arrays]
    return [round(float(value), 6) for each, values in zip(arrays, samples, strict=True) for value in (*each.shape, *values)]


def differences_of(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> list[str]:
    """What differs between the results of a page's steps, in words."""
    found = []
    for old, new in itertools.zip_longest(before, after):
        if old is None or new is None or old["step"] != new["step"]:
            found.append(f"the steps differ from here on: {(new or old or {'step': '?'})['step'].splitlines()[0]}")
            break
        title = new["step"].splitlines()[0]
        found += [f"{title}: {name} was {old[name]}, is {new[name]}" for name in ("code", "removed") if old[name] != new[name]]
        for name in ("out", "error"):
            lost, added = (sorted(set(one[name]) - set(other[name])) for one, other in ((old, new), (new, old)))
            if lost or added:
                found.append(f"{title}: {name}: {' '.join(f'-{line}' for line in lost)} {' '.join(f'+{line}' for line in added)}")
        for name in sorted(old["files"].keys() | new["files"].keys()):
            values = [np.array(each["files"].get(name, [])) for each in (old, new)]
            if values[0].shape != values[1].shape:
                found.append(f"{title}: {name}: other files, or maps of another size")
            elif (largest := np.abs(values[0] - values[1]).max(initial=0)) > TOLERANCE * np.ptp(values[0]):
                found.append(f"{title}: {name}: differs by up to {largest:.3g}")
    return found


if __name__ == "__main__":
    sys.exit(main())
