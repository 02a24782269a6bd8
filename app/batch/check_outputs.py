"""Rejects outputs that a model's estimates cannot provide, before any is made."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from ...annotators.checks import log_used_size
from ...annotators.specs.base import ModelSpec
from ...geometry.camera import DEFAULT_FOV
from ...geometry.estimate import Quantity
from ...geometry.files import FORMATS
from ...model_loader.inference.panorama import check_panorama_model, check_perspective_model
from ...options.map_images import CODINGS
from ...options.outputs import COMPOSITING, HOLES, PANORAMA_CHOICES, STEREO_CHOICES
from ...options.views import AROUND_LAYOUTS
from .options import Options

logger = logging.getLogger(__name__)


def check_writes(writes: Sequence[str], options: Options) -> None:
    """Rejects outputs that a model's estimates cannot provide, before any is made. Logs assumptions of surfaces and an ignored size.

    Raises:
        ValueError: An unknown coding, or an output that needs a map which the model does not predict.
        ImportError: The library for a format is missing; the message says how to install it.
    """
    if options.coding not in CODINGS:
        raise ValueError(f"unknown coding {options.coding!r}; accepted: {', '.join(CODINGS)}")
    if options.own:  # their maps are checked when they are read
        _check_libraries(writes)
        return
    spec = options.spec
    options.checked_steps()
    if options.panorama:
        check_panorama_model(spec)
        if not spec.in_metres:
            logger.info("%s gives no metres: the distances of a panorama are up to scale", spec.id)
        if refused := [name for name in writes if name not in PANORAMA_CHOICES]:
            raise ValueError(f"{refused[0]} cannot be made of a panorama; of panoramas are written {', '.join(PANORAMA_CHOICES)}")
    else:
        check_perspective_model(spec)
    if options.size:
        log_used_size(spec, options.size)
    gives = {"depth"} if spec.quantity else set()
    if spec.axes or (spec.quantity and (spec.quantity is not Quantity.RELATIVE_DEPTH or options.near_far_ratio)):
        gives.add("normals")
    if not gives & set(writes) and set(writes) <= {"depth", "normals"}:
        raise ValueError(f"{spec.id} gives {spec.gives}: there is no {' or '.join(writes)} to write; choose another model or --write")
    if options.near_far_ratio and spec.quantity is Quantity.METRIC_DEPTH:
        logger.warning("%s gives metres: a near-far ratio (%g) changes nothing", spec.id, options.near_far_ratio)
    for name in writes:
        if name in STEREO_CHOICES:
            if spec.quantity is None:
                raise ValueError(f"{spec.id} gives {spec.gives}; images for both eyes ({name}) need depth: choose another model")
            if not options.panorama:
                _check_half_sphere(name.removesuffix(HOLES), spec, options.fov)
        elif name not in ("depth", "normals"):
            _check_format(name, spec, options)


def lacking_libraries(writes: Sequence[str]) -> dict[str, str]:
    """The outputs whose library is missing, each with how to install it."""
    lacking = {}
    for name in writes:
        try:
            _check_libraries([name])
        except ImportError as error:
            lacking[name] = str(error)
    return lacking


def _check_libraries(writes: Sequence[str]) -> None:
    for name in writes:
        if (chosen := FORMATS.get(".exr" if name == COMPOSITING else f".{name}")) is not None:
            chosen.check_library()


def _check_half_sphere(layout: str, spec: ModelSpec, fov: float) -> None:
    if layout in AROUND_LAYOUTS:
        raise ValueError(f"{layout} is made of 360° panoramas: add --panorama if the images are such (in ComfyUI: Estimate Panorama)")
    if layout == "vr180" and not fov and not spec.knows_camera:
        logger.info("%s does not know the field of view, and vr180 needs it: %g degrees are assumed", spec.id, DEFAULT_FOV)


def _check_format(name: str, spec: ModelSpec, options: Options) -> None:
    fov, near_far_ratio = options.fov, options.near_far_ratio
    chosen = FORMATS[".exr" if name == COMPOSITING else f".{name}"]
    chosen.check_library()
    if not chosen.surface:
        return
    if spec.quantity is None:
        raise ValueError(f"{spec.id} gives {spec.gives}; a mesh ({name}) needs depth: choose another model")
    if name == "stl" or options.panorama:  # neither assumes what photos need
        return
    if spec.quantity is not Quantity.METRIC_DEPTH:
        ratio = f"{near_far_ratio:g}, as --near-far-ratio says" if near_far_ratio else "3 or so; --near-far-ratio N sets it"
        logger.info("%s gives no metres: the depth range of a mesh (%s) is guessed as 1:%s", spec.id, name, ratio)
    if not fov and not spec.knows_camera:
        logger.info(
            "%s does not know the camera: a mesh (%s) assumes a field of view of %g degrees; --fov DEGREES sets it",
            spec.id,
            name,
            DEFAULT_FOV,
        )
