"""Writes the weights that ship with the pack.

    python -m training.export --run DIR [--begin FILE --share 0.6] [--sky 0.25] [--scene 1] [--output FILE]

The best averaged weights of a run in fp16, as safetensors, without the counters that only training needs. With --begin, weights on the way
from FILE, an earlier network with the same layers, to the run's: --share 1 is the run's. Layers that FILE lacks are the run's. DIR may be
an exported file, so that the result can be brought nearer to a third, or a checkpoint.pt: the last averaged weights instead of the best.
--sky is added to the logit of the sky: weights between two are less sure of it. --scene is added to that of the scene as a whole.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import math
import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from depth_normal.annotators.networks.tiny import COUNTER, with_scene
from depth_normal.annotators.registry import BUNDLED_MODEL, MODELS
from depth_normal.model_loader.weights.integrity import bundled_path

SHIPPED = bundled_path(MODELS[BUNDLED_MODEL].file)
LARGEST_FILE = 8_000_000

logger = logging.getLogger(__name__)


def read_state(path: Path) -> dict[str, Tensor]:
    """The weights in a run's best.pt, its checkpoint.pt (the averaged ones) or an exported file, without counters.

    Adds a neutral layer `scene` to files that predate it.

    Raises:
        ValueError: Another kind of file.
    """
    try:
        state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    except OSError:
        raise
    except Exception as error:  # for foreign files, pickle raises nearly anything
        raise ValueError(f"{path} cannot be read as weights: expected a run's best.pt or an exported file") from error
    if isinstance(state, dict):
        state = state.get("average", state)
    if not isinstance(state, dict) or not state:
        raise ValueError(f"{path} holds no weights: expected a run's best.pt or an exported file")
    if strange := [key for key, value in state.items() if not isinstance(key, str) or not isinstance(value, Tensor)]:
        raise ValueError(f"{path} holds more than weights ({strange[0]}, for one): expected a run's best.pt or an exported file")
    return with_scene({key: value for key, value in state.items() if not key.endswith(COUNTER)})


def between(first: Mapping[str, Tensor], last: Mapping[str, Tensor], share: float) -> dict[str, Tensor]:
    """Interpolates from the first to the last weights; those that only the last has are copied.

    This forgets less of what the first network knew.

    Raises:
        ValueError: `share` is outside [0, 1], or the first weights are of another network.

    Source:
        Wortsman et al., "Robust fine-tuning of zero-shot models" (2022).
    """
    if not 0 <= share <= 1:
        raise ValueError(f"a share of {share:g} of the way is not between the weights; expected 0 to 1")
    for key, value in first.items():
        if key not in last or value.shape != last[key].shape:
            found = tuple(last[key].shape) if key in last else "none"
            raise ValueError(f"the run did not begin from these weights: their {key} is {tuple(value.shape)}, the run's {found}")
    return {key: value.float().lerp(first[key].float(), 1 - share) if key in first else value for key, value in last.items()}


def export(source: Path, target: Path, begin: Path | None = None, share: float = 1.0, sky: float = 0.0, scene: float = 0.0) -> None:
    """Writes fp16 weights.

    Raises:
        ValueError: As for `between`; `sky` or `scene` is not finite; the weights predict no sky that they could be added to; a value does
            not fit fp16; or the file would exceed 8 MB.
    """
    found = read_state(source)
    if begin is not None:
        found = between(read_state(begin), found, share)
    for name, more in {"sky": sky, "scene": scene}.items():
        if not math.isfinite(more):
            raise ValueError(f"{more} cannot be added to the logit of the {name}: expected a number such as 0.25")
        if more and f"fine.{name}.bias" not in found:
            raise ValueError(f"{source} tells no sky, to which {more} could be added: expected weights of the second version")
        if more:
            found[f"fine.{name}.bias"] = found[f"fine.{name}.bias"] + more
    state = {key: value.half().contiguous() for key, value in found.items()}
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
    parser.add_argument("--begin", type=Path, help="weights that the run began from")
    parser.add_argument("--share", type=float, default=1.0, help="of the way from --begin to the run's weights")
    parser.add_argument("--sky", type=float, default=0.0, help="more of the sky counts as sky: added to its logit")
    parser.add_argument("--scene", type=float, default=0.0, help="fewer scenes count as without sky: added to their logit")
    parser.add_argument("--output", type=Path, default=SHIPPED)
    arguments = parser.parse_args()
    if arguments.begin is None and arguments.share != 1:
        parser.error("--share is of the way from --begin: name the weights that the run began from")
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    source = arguments.run if arguments.run.is_file() else arguments.run / "best.pt"
    if not source.is_file():
        parser.error(f"{source} is no file: --run is the folder of a run that has saved its best weights, or an exported file")
    export(source, arguments.output, arguments.begin, arguments.share, arguments.sky, arguments.scene)


if __name__ == "__main__":
    main()
