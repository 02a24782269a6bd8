"""How near each engine comes to torch from a photograph to its maps, by `load_model`: every family's network, random and with few channels.

    python benchmarks/runtime_parity.py [--models NAME ...] [--runtime onnx openvino]

Of each: the largest and the mean difference of the image in 255ths, the largest of normals in degrees, of two images at once, of an
upright one of odd sides and of one whose camera is known; and the seconds until the engine could run. True sizes: `export_parity.py`.
"""

from __future__ import annotations

import argparse
import os
import runpy
import sys
import tempfile
import time
from pathlib import Path

from depth_normal.options.estimate import COMPILE, ONNX, OPENVINO, TORCH

TESTS = Path(__file__).parents[1] / "tests"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", metavar="NAME", help="of tests/graph_families.py")
    parser.add_argument("--runtime", nargs="+", choices=(ONNX, OPENVINO, COMPILE), default=(ONNX, OPENVINO), metavar="NAME")
    arguments = parser.parse_args()
    sys.path.insert(0, str(TESTS.parent))  # tests import each other
    runpy.run_path(str(TESTS / "mend_torchvision.py"))
    shrunk = runpy.run_path(str(TESTS / "graph_families.py"))
    print("| model | what ran it | of 255: most, mean | degrees of normals | ready after s |\n|---|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DEPTH_NORMAL_HOME"] = folder
        for name in arguments.models or (*shrunk["OTHERS"], *shrunk["DINO"], *shrunk["SLOW"]):
            with shrunk["loaded"](name, Path(folder)) as load:
                for runtime in arguments.runtime:
                    start = time.perf_counter()
                    model = load(runtime)
                    ready = time.perf_counter() - start
                    most, mean, degrees = shrunk["end_to_end"](load(TORCH), model, name)
                    print(f"| {name} | {model.runtime} | {most:.4f}, {mean:.5f} | {degrees:.4f} | {ready:.0f} |", flush=True)


if __name__ == "__main__":
    main()
