"""Writes the weights that ship with the pack.

    python -m training.export --run DIR [--output FILE]

The best averaged weights of a run in fp16, as safetensors, without the counters that only training needs.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from depth_normal.annotators.networks.tiny import COUNTER
from depth_normal.annotators.registry import BUNDLED_MODEL, MODELS
from depth_normal.model_loader.find import bundled_path

SHIPPED = bundled_path(MODELS[BUNDLED_MODEL].file)
LARGEST_FILE = 8_000_000

logger = logging.getLogger(__name__)


def read_state(path: Path) -> dict[str, Tensor]:
    """The weights of a run's best.pt or of an exported file, without counters."""
    state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    return {key: value for key, value in state.items() if not key.endswith(COUNTER)}


def export(source: Path, target: Path) -> None:
    """Writes fp16 weights.

    Raises:
        ValueError: A value does not fit fp16, or the file would be larger than 8 MB.
    """
    state = {key: value.half().contiguous() for key, value in read_state(source).items()}
    for key, value in state.items():
        if not torch.isfinite(value).all() or (key.endswith("running_var") and (value <= 0).any()):
            raise ValueError(f"{key} of {source} does not fit fp16: train with more weight decay, or keep it in fp32")
    temporary = target.with_suffix(".part")
    save_file(state, temporary, {"format": "pt"})
    if (size := temporary.stat().st_size) > LARGEST_FILE:
        temporary.unlink()
        raise ValueError(f"the weights take {size} bytes; at most {LARGEST_FILE} are allowed: make the network smaller")
    temporary.replace(target)
    digest = hashlib.sha256(target.read_bytes()).hexdigest()
    logger.info("%s: %d values; for specs/tiny.py: sha256=%s, size=%d", target, sum(v.numel() for v in state.values()), digest, size)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    export(arguments.run / "best.pt", arguments.output)


if __name__ == "__main__":
    main()
