"""Identifies a weights file's model by names and shapes of its tensors; by size and name where several models share these."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from torch import Tensor

from ...annotators.base import Annotator
from ...annotators.choices import wording
from ...annotators.registry import FAMILIES, MATERIAL_MODELS, MODELS
from ...annotators.specs.base import TELLING_PARTS, CheckpointError, ModelSpec, printable
from ..comfy import feedback, interrupt
from .checkpoint import read_shapes
from .find import name_rank
from .integrity import sha256_of, stamp

logger = logging.getLogger(__name__)

_ESTIMATED = 0.02
"""Relative tolerance of the table's approximate file sizes."""
_AS_LARGE = 1.2
"""Maximum ratio between a published file's size and that of its parameters."""

_NO_NAMES = {"model", "weight", "checkpoint", "ckpt", "diffusion", "pytorch", "unet", "network", "fp16", "fp32"}
"""Words that do not identify a file."""

_OTHERS = {
    "a LoRA": r"lora_|\.lora\.|\.(alpha|dora_scale)$",
    "a ControlNet": r"^(control_model|controlnet_\w+)\.",
    "a whole checkpoint of Stable Diffusion or the like": r"^(model\.diffusion_model|first_stage_model|cond_stage_model|conditioner)\.",
    "a VAE": r"^(encoder|decoder)\.(conv_in|down_blocks|down\.\d|mid)",
    "a text encoder": r"^text_model\.",
    "Depth Anything 3 giant or nested, of which only the smaller networks are known here": r"^(model\.)?(gs_head|da3_metric)\.",
    "MoGe-3's refiner without its base network": r"^refiner\.encoder_fuse\.",
}
"""Other kinds of files in model folders, by a tensor name unique to them."""

_recognised: dict[tuple[str, int, int], tuple[str, list[str]]] = {}
"""The id of each file's model, and the notes shown about the file."""


def recognise(path: Path) -> ModelSpec:
    """The model of the table whose network a file's tensors fill exactly.

    Reads only names and shapes, and builds networks without memory. Some models share all names and shapes (relative and metric, versions,
    kinds of scene): then the file's size, and if needed sha256, identify the published file, else the file's or its folder's name.
    Remaining doubt is logged once and noted on each node. Results are cached per file. For models of several files, give the network's.

    Raises:
        CheckpointError: It cannot be read or fits no model; the message says what it holds.
    """
    state_of_file = stamp(path) if path.is_file() else None
    model_id, notes = _recognised.get(state_of_file, (None, [])) if state_of_file else (None, [])
    if model_id is None or model_id not in MODELS | MATERIAL_MODELS:
        before = feedback.notes_of_run()
        spec = _recognise(path)
        if state_of_file:
            _recognised[state_of_file] = spec.id, feedback.notes_of_run(before)
        return spec
    for words in notes:
        feedback.note(words)
    return (MODELS | MATERIAL_MODELS)[model_id]


def _recognise(path: Path) -> ModelSpec:
    state = read_shapes(path)
    candidates, missing_libraries = matching_models(state)
    if not candidates:
        raise CheckpointError(_words_for_unknown(path, state, missing_libraries))
    left = _published(path, candidates) or _by_name(path, candidates)
    if len(left) > 1:
        logger.warning(
            "taken for %s, but the file could be of %s: their tensors have the same names and shapes, and its name does not tell which; "
            "if it is another, %s: %s",
            left[0].id,
            _listed(left),
            wording().choose(left[1].id),
            path,
        )
    else:
        logger.info("%s is recognised as %s", path, left[0].id)
    return left[0]


def matching_models(state: Mapping[str, Tensor]) -> tuple[list[ModelSpec], dict[str, ImportError]]:
    """The models whose network these meta tensors (see `read_shapes`) fill exactly, in table order.

    Compares in groups, so that models with the same names and shapes are found together: first models of about the file's number of
    parameters, the pack's own networks before those of libraries; then the rest, if none fits.

    Returns:
        The models, and by id the errors of those that need a missing library.
    """
    numbers = sum(value.numel() for value in state.values())
    turns: dict[tuple[bool, bool], list[ModelSpec]] = {}
    for spec in (MODELS | MATERIAL_MODELS).values():
        turns.setdefault((not _is_as_large(spec, numbers), _needs_library(FAMILIES[spec.family])), []).append(spec)
    comparison = _Comparison(state)
    for turn in sorted(turns):
        if fitting := [spec for spec in turns[turn] if comparison.fits(spec)]:
            return fitting, {}
    return [], comparison.missing_libraries


def _is_as_large(spec: ModelSpec, numbers: int) -> bool:
    """Whether the published file may have this many parameters; true if its size is unknown."""
    size = spec.file.size or spec.file.approximate_size
    return size is None or any(size / _AS_LARGE < numbers * width < size * _AS_LARGE for width in (2, 4))


def _needs_library(family: type[Annotator]) -> bool:
    return getattr(family.check_requirements, "__func__", None) is not getattr(Annotator.check_requirements, "__func__", None)


class _Comparison:
    """Compares tensors with models; `missing_libraries` holds the errors of those that need a library."""

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        self.missing_libraries: dict[str, ImportError] = {}
        self._state = state
        self._compared: list[tuple[ModelSpec, bool]] = []

    def fits(self, spec: ModelSpec) -> bool:
        """Whether the tensors fill a model's network exactly."""
        for other, fits in self._compared:
            if other.family == spec.family and other.config == spec.config:  # the same network
                return fits
        fits = self._fill(spec)
        self._compared.append((spec, fits))
        return fits

    def _fill(self, spec: ModelSpec) -> bool:
        interrupt.throw_if_interrupted()
        family = FAMILIES[spec.family]
        try:
            if not family.could_be(spec, self._state.keys()):
                return False
            family.check_network(spec, self._state)
        except CheckpointError:
            return False
        except ImportError as error:
            self.missing_libraries[spec.id] = error
            return False
        except Exception:  # a family may fail in any way on foreign tensors
            logger.debug("%s cannot be compared", spec.id, exc_info=True)
            return False
        return True


def _published(path: Path, candidates: Sequence[ModelSpec]) -> list[ModelSpec]:
    """A list with the one candidate whose published file this is; empty if unknown."""
    if len(candidates) == 1:
        return list(candidates)
    size = path.stat().st_size
    as_long = [spec for spec in candidates if spec.file.size == size]
    if len(as_long) == 1 and not _contradicts(path, as_long[0]):
        return as_long
    maybe = as_long or [spec for spec in candidates if spec.file.size is None and _about(size, spec.file.approximate_size)]
    if not any(spec.file.sha256 for spec in maybe):
        return []
    digest = sha256_of(path, interrupt.throw_if_interrupted)
    return [spec for spec in maybe if spec.file.sha256 and spec.file.sha256.lower() == digest][:1]


def _about(size: int, estimate: int | None) -> bool:
    return estimate is not None and abs(size - estimate) <= _ESTIMATED * estimate


def _by_name(path: Path, candidates: Sequence[ModelSpec]) -> list[ModelSpec]:
    """The candidates that match a file's name, one or more."""
    left = [spec for spec in candidates if not _contradicts(path, spec)] or list(candidates)
    ranks = {spec.id: rank for spec in left if (rank := name_rank(path, spec.file)) is not None}
    if ranks:
        left = [spec for spec in left if ranks.get(spec.id) == min(ranks.values())]
    return left if len(left) == 1 else _by_words(path, left, candidates)


def _contradicts(path: Path, spec: ModelSpec) -> bool:
    return FAMILIES[spec.family].name_contradicts(spec, str(path)) is not None


def _by_words(path: Path, left: Sequence[ModelSpec], candidates: Sequence[ModelSpec]) -> list[ModelSpec]:
    """Those left of the candidates that fit the words of the file's name best, or of the nearest folder that has any of their words."""
    ids = [_words(spec.id) for spec in left]
    names = [_words_of(spec) for spec in left]
    of_all = [_words_of(spec) for spec in candidates]
    all_words, telling = set().union(*of_all), set().union(*of_all) - set.intersection(*of_all)
    for part in path.absolute().with_suffix("").parts[: -TELLING_PARTS - 1 : -1]:
        words = _words(part)
        is_theirs = any(not word.isdigit() for word in words & all_words)  # bare numbers are dates, copies and the like
        if is_theirs and (said := words & telling):
            # a version alone decides nothing: marigold-depth-v1-0 is no LCM, whose repository ends in v1-0 too
            unsaid = [sum(word.isalpha() for word in own & telling - words) for own in ids]
            scores = [
                (-lacks, len(said & own) - len(said - name), len(said & name)) for lacks, own, name in zip(unsaid, ids, names, strict=True)
            ]
            return [spec for spec, score in zip(left, scores, strict=True) if score == max(scores)]
    return list(left)


def _words_of(spec: ModelSpec) -> set[str]:
    return _words(spec.id, (spec.file.repo_id or "").rsplit("/", 1)[-1], str(Path(spec.file.filename).with_suffix("")))


def _words(*names: str) -> set[str]:
    """The distinctive words of names, without a plural s."""
    return {word.rstrip("s") for name in names for word in re.findall(r"[a-z0-9]+", name.lower())} - _NO_NAMES


def _words_for_unknown(path: Path, state: Mapping[str, Tensor], missing_libraries: dict[str, ImportError]) -> str:
    first = ", ".join(printable(name) for name in sorted(state)[:3])
    other = next((what for what, name in _OTHERS.items() if any(re.search(name, each) for each in state)), None)
    if not any(value.is_floating_point() for value in state.values()):
        other = other or "a file of whole numbers alone (quantised weights?)"
    families = _listed(dict.fromkeys(spec.family for spec in (MODELS | MATERIAL_MODELS).values()))
    words = (
        f"{path} is {other or 'of no model that is known here'}: it holds {len(state)} tensors (first: {first}). "
        f"Accepted is the network's file of {families}; name the model (--model ID) to see what differs from it"
    )
    if missing_libraries:
        words += f". It was not compared with {', '.join(missing_libraries)}: {next(iter(missing_libraries.values()))}"
    return words


def _listed(things: Iterable[ModelSpec | str]) -> str:
    *most, last = (each if isinstance(each, str) else each.id for each in things)
    return f"{', '.join(most)} or {last}" if most else last
