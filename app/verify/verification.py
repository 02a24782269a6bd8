"""Verifies one model: its files, whether it loads and runs, and whether its estimate of the demo photo is plausible."""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..._version import __version__
from ...annotators.registry import FAMILIES, all_specs
from ...annotators.specs.base import CheckpointError, ModelSpec, WeightFile
from ...geometry.estimate import Estimate
from ...geometry.textures.materials import Materials
from ...model_loader import Model, free, load_model
from ...model_loader.weights.download import find_or_download
from ...model_loader.weights.find import find_weights
from ...model_loader.weights.integrity import bundled_path, is_conversion, sha256_of, structure_problem, trust
from ..outcomes import EXPECTED_ERRORS
from .coffee_scene import photograph
from .figures import compare_figures, figures_of
from .sanity_checks import METRES, METRES_OUTDOORS, Finding, Grade, evaluate, evaluate_albedo

logger = logging.getLogger(__name__)

NOT_CHECKED = "not checked"
_OUTDOORS = {"outdoor", "kitti"}


@dataclass(frozen=True)
class FileFacts:
    """Facts about one of a model's files.

    Attributes:
        name: The published file's name.
        origin: "bundled", "here", "downloaded", "given" or "missing".
        size_ok: Whether the size is the published one; None if that is unknown, or for a custom file or a conversion.
        sha_ok: The same for the sha256. Also True for a conversion with a known sha256.
        published_sha: Whether the published file's sha256 is known.
        readable: Whether it can be read as weights.
    """

    name: str
    origin: str
    path: Path | None = None
    size: int | None = None
    sha256: str | None = None
    size_ok: bool | None = None
    sha_ok: bool | None = None
    problems: tuple[str, ...] = ()
    readable: bool = True
    published_sha: bool = True


@dataclass(frozen=True)
class Verification:
    """The findings about one model.

    Attributes:
        keys_ok: Whether every tensor fitted; None if not tried.
        runs: Device, precision, and seconds of its first image; None if it did not run.
        problem: Why the check was not completed.
        figures: New reference figures to store; None if some are stored already.
    """

    model: str
    files: tuple[FileFacts, ...] = ()
    keys_ok: bool | None = None
    runs: Mapping[str, Any] | None = None
    findings: tuple[Finding, ...] = ()
    problem: str | None = None
    figures: Mapping[str, Any] | None = field(default=None, repr=False)

    @property
    def verdict(self) -> str:
        """One of "sound", "doubtful", "wrong" and "not checked"."""
        if self.keys_ok is False or any(file.problems for file in self.files):
            return Grade.WRONG.name.lower()
        if not self.findings:
            return NOT_CHECKED
        return max(finding.grade for finding in self.findings).name.lower()


def check(
    spec: ModelSpec, stored: Mapping[str, Mapping[str, Any]], device: str = "auto", dtype: str = "auto", weights: Path | None = None
) -> Verification:
    """Checks a model, downloading missing files; returns findings whatever goes wrong, and frees the model.

    `stored` are figures by model, from `read_figures`; `weights` is a file of the same architecture, in place of the published one.
    """
    files: list[FileFacts] = []
    try:
        FAMILIES[spec.family].check_requirements(spec)  # before a useless download
        for file in spec.files:
            logger.info("%s: looking at %s", spec.id, file.name)
            files.append(FileFacts(file.name, "missing", readable=False, published_sha=bool(file.sha256)))
            files[-1] = look_at(spec, file, weights if file is spec.file else None)
        verification = Verification(spec.id, tuple(files))
        readable = all(file.readable for file in files)
        return _run(verification, spec, stored, (device, dtype, weights)) if readable else verification
    except EXPECTED_ERRORS as error:
        return Verification(spec.id, tuple(files), problem=_first_line(error))
    finally:
        free(spec.id)


def look_at(spec: ModelSpec, file: WeightFile, instead: Path | None = None) -> FileFacts:
    """Compares a file, downloaded if missing, with the published one; for `instead` only reports. Raises DownloadError or OSError."""
    path, origin = instead or find_weights(file), "given" if instead else "bundled" if file.bundled else "here"
    if path is None:
        path = bundled_path(file) if file.bundled else find_weights(file, lambda _: True)  # also an unreadable one, to report it
    if path is None:
        path, origin = find_or_download(spec, file), "downloaded"
    if not path.is_file():
        return FileFacts(file.name, "missing", path, problems=(f"{path} does not exist",), readable=False, published_sha=bool(file.sha256))
    size, sha256 = path.stat().st_size, sha256_of(path)
    size_ok = sha_ok = None
    if not instead and not is_conversion(path, file):
        size_ok = None if file.size is None else size == file.size
        sha_ok = None if file.sha256 is None else sha256 == file.sha256.lower()
    elif not instead and sha256 in file.copies:
        sha_ok = True
    if sha_ok and size_ok is not False:
        trust(path, file)
    unreadable = structure_problem(path)
    said = (
        unreadable,
        f"the published file has {file.size} bytes" if size_ok is False else None,
        f"the published file's sha256 is {file.sha256}" if sha_ok is False else None,
        _owner(sha256, file) or FAMILIES[spec.family].name_contradicts(spec, str(path)),
    )
    problems, published_sha = tuple(filter(None, said)), bool(instead or file.sha256)
    return FileFacts(file.name, origin, path, size, sha256, size_ok, sha_ok, problems, not unreadable, published_sha)


def _owner(sha256: str, file: WeightFile) -> str | None:
    """A message if a file is another model's published file."""
    others = (spec.id for spec in all_specs() for each in spec.files if each.sha256 and each.sha256.lower() == sha256)
    owners = ", ".join(dict.fromkeys(others))
    return f"it is the published file of {owners}" if owners and (file.sha256 or "").lower() != sha256 else None


def _run(
    verification: Verification, spec: ModelSpec, stored: Mapping[str, Mapping[str, Any]], how: tuple[str, str, Path | None]
) -> Verification:
    device, dtype, weights = how
    try:
        model = load_model(spec.id, dtype, device, weights)
    except CheckpointError as error:
        return replace(verification, keys_ok=False, problem=_first_line(error))
    start = time.perf_counter()
    image = photograph()
    try:
        estimate = model.estimate_materials(image) if spec.materials else _estimated(model, image)
    except ArithmeticError as error:
        return replace(verification, keys_ok=True, findings=(Finding("runs", Grade.WRONG, _first_line(error)),))
    seconds, entry = time.perf_counter() - start, stored.get(spec.id)
    on = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else model.device.type
    origin = f"depth-normal {__version__}, torch {torch.__version__}, Python {platform.python_version()}, {on}, {model.dtype_name}"
    ran = replace(verification, keys_ok=True, runs={"device": on, "dtype": model.dtype_name, "seconds": round(seconds, 2)})
    if isinstance(estimate, Materials):
        return replace(ran, findings=(evaluate_albedo(estimate.albedo, image),))
    findings = tuple(_evaluated(spec, estimate, entry))
    return replace(ran, findings=findings, figures=None if entry or _gives_nothing(findings) else figures_of(estimate, origin))


def _estimated(model: Model, image: Tensor) -> Estimate:
    """The estimate of `image`. Panorama models take it for a panorama: the result is comparable with figures, but not with the scene."""
    if model.spec.for_panoramas:
        return model.estimate_panorama(image, any_aspect=True)
    return model.estimate(image)


def _evaluated(spec: ModelSpec, estimate: Estimate, entry: Mapping[str, Any] | None) -> Iterator[Finding]:
    quantity, gives_normals = estimate.quantity, estimate.normals is not None
    if (quantity, gives_normals) != (spec.quantity, spec.axes is not None):
        yield Finding("gives", Grade.WRONG, f"gave {quantity}, normals: {gives_normals}; its entry says {spec.gives}")
    metres = METRES_OUTDOORS if _OUTDOORS & set(spec.id.split("-")) else METRES
    findings = [] if spec.for_panoramas else evaluate(estimate, metres)
    yield from findings
    if entry is None or _gives_nothing(findings):
        return
    try:
        yield compare_figures(estimate, dict(entry))
    except ValueError as error:
        yield Finding("figures", Grade.DOUBTFUL, _first_line(error))


def _gives_nothing(findings: Iterable[Finding]) -> bool:
    return any(finding.name == "gives" and finding.grade is Grade.WRONG for finding in findings)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().split("\n", 1)[0]
