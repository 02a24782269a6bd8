"""Loaded models: one per checkpoint and dtype, kept, placed on the device, run on batches of any size."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..annotators.base import Annotator, CheckpointError, ModelSpec, Progress, WeightFile, is_out_of_memory
from ..annotators.registry import BUNDLED_MODEL, FAMILIES, find_spec
from ..annotators.resizing import Resizing
from ..geometry.estimate import Estimate
from ..utils import as_batch
from . import host
from .checkpoint import read_checkpoint
from .download import bundled_weights, download_weights
from .download_errors import DownloadError
from .find import find_weights
from .verify import verify

logger = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
DTYPE_CHOICES = ("auto", *DTYPES)
DEVICE_CHOICES = ("auto", "cpu", "cuda", "mps")

# How many pictures' working memory is asked for before a run: more would push other models out for little.
ROOM_FOR = 4


class Model:
    """A model ready to run.

    Attributes:
        spec: Its entry in the table of models.
        dtype: What the network computes in; estimates are float32 all the same.
        weights: The file the network came from.
    """

    def __init__(self, annotator: Annotator, dtype: torch.dtype, device: torch.device, weights: Path) -> None:
        self.spec = annotator.spec
        self.dtype = dtype
        self.weights = weights
        self._annotator = annotator
        host.make_interruptible(annotator.network)
        self._placement = host.Placement(annotator.network, device)

    def estimate(
        self,
        images: Tensor | np.ndarray,
        size: int | None = None,
        progress: Progress | None = None,
        *,
        options: Any = None,
        derive: Callable[[Estimate], Estimate] | None = None,
    ) -> Estimate:
        """Depth and/or normals of pictures, at the pictures' own size.

        Args:
            images: (B, 3, H, W) tensor with values in [0, 1], or array (H, W, C) or (B, H, W, C) of uint8, uint16 or floats in [0, 1].
            size: Side in pixels of the frame that the network's input is fitted to (the entry's `resizing`); None = the model's default.
            progress: Called with (work done, work in all), in pictures or in a family's passes over them.
            options: The family's own (`annotators.marigold.MarigoldOptions`, ...); None = its defaults.
            derive: What is to follow from the estimate at the network's size, as normals are: those of enlarged depth would show its grid.

        Returns:
            An estimate of B pictures, H x W, float32, on the CPU or where the images were.

        Raises:
            ValueError: Pictures that `utils.as_batch` refuses, or a size beyond what a network can be run at.
            MemoryError: Not even one picture at a time fits.
            ArithmeticError: The network gave NaN or infinity.
        """
        batch = as_batch(images)
        height, width = batch.shape[-2:]
        parts = self.estimates(batch, size, progress, options=options)
        derived = parts if derive is None else map(derive, parts)
        return Estimate.cat([part.resized(height, width, self.resampling).to(batch.device) for part in derived])

    def estimates(
        self, images: Tensor, size: int | None = None, progress: Progress | None = None, *, options: Any = None
    ) -> Iterator[Estimate]:
        """The estimates at the network's size, on its device, in parts: as many pictures at once as the memory holds.

        Args:
            images: (B, 3, H, W) float32 RGB in [0, 1].
            size: As in `estimate`.
            progress: As in `estimate`.
            options: As in `estimate`.

        Yields:
            Estimates of one or more pictures, in order.
        """
        height, width = self._annotator.checked_network_size(images.shape[-2], images.shape[-1], size)
        bytes_each = height * width * self._annotator.bytes_per_pixel
        done, total = 0, images.shape[0]
        device = self._placement.ready(bytes_each * min(total, ROOM_FOR))
        at_once = max(1, min(total, host.free_memory(device) // bytes_each))
        while done < total:
            host.throw_if_interrupted()
            try:
                chunk = images[done : done + at_once].to(device)
                with torch.no_grad():
                    part = self._annotator.estimate(chunk, size, options=options, progress=_scaled(progress, done, len(chunk), total))
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                host.release_cached_memory()
                if at_once == 1:
                    raise MemoryError(
                        f"{self.spec.id} at {width}x{height} does not fit in the memory of {device}: "
                        "lower the resolution, or free other models"
                    ) from error
                at_once //= 2
                logger.warning("out of memory on %s: going on with %d pictures at once", device, at_once)
                continue
            yield part
            done += part.batch
            if progress is not None:
                progress(done, total)

    def with_resizing(self, resizing: Resizing) -> Model:
        """The same model, fed with pictures that are resized in another way than its authors'; see `Annotator.with_resizing`."""
        other = copy.copy(self)
        other._annotator = self._annotator.with_resizing(resizing)
        return other

    @property
    def resampling(self) -> str:
        """How the family's depth is brought to another size; what `Estimate.resized` takes."""
        return self._annotator.resampling

    def release(self) -> None:
        """Takes the model off its device. It can still be used: it goes back when it is asked to run."""
        self._placement.release()


def _scaled(progress: Progress | None, done: int, chunk: int, total: int) -> Progress | None:
    """Progress within a part of the batch as progress of the whole."""
    if progress is None:
        return None
    return lambda passes, of_passes: progress(done * of_passes + passes * chunk, total * of_passes)


_cache: dict[tuple[str, torch.dtype, torch.device, str], Model] = {}
_lock = threading.Lock()


def load_model(model_id: str, dtype: str = "auto", device: str | torch.device = "auto", weights: str | Path | None = None) -> Model:
    """Loads a model, downloading its weights if nobody has them; a second call returns the same object.

    Args:
        model_id: An id of the table of models (`depth-normal models` lists them).
        dtype: "float32", "float16", "bfloat16", or "auto": the fastest in which the picture stays the same.
        device: "auto" (ComfyUI's choice inside it), "cpu", "cuda", "mps" or a torch device.
        weights: A file to use in place of the published one, of the same architecture.

    Raises:
        ValueError: Unknown model, dtype or device.
        DownloadError: The weights are nowhere and cannot be downloaded.
        CheckpointError: The file is damaged, unsafe, or of another model; or a file of the pack itself is missing.
    """
    spec = find_spec(model_id)
    place = _parse_device(device)
    number = _parse_dtype(dtype, spec, place)
    key = (spec.id, number, place, str(weights or ""))
    with _lock:
        model = _cache.pop(key, None)
        if model is None:
            _make_room(spec)
            model = _load(spec, number, place, Path(weights) if weights else None)
        _cache[key] = model  # the last in order is the last used
        return model


def free(model_id: str | None = None) -> None:
    """Forgets loaded models (all, or those of one id) and gives their memory back."""
    with _lock:
        for key in [key for key in _cache if model_id in (None, key[0])]:
            _cache.pop(key).release()


def _make_room(spec: ModelSpec) -> None:
    """Forgets the models used longest ago while main memory is short of what a new one takes to read and to build."""
    needed = 2 * sum(file.size or 0 for file in spec.files)
    while _cache and host.free_main_memory() < needed:
        _cache.pop(next(iter(_cache))).release()


def _load(spec: ModelSpec, dtype: torch.dtype, device: torch.device, weights: Path | None) -> Model:
    FAMILIES[spec.family].check_requirements(spec)
    states, first = {}, None
    for file in spec.files:
        path = weights if weights is not None and file is spec.file else _weights_of(spec, file)
        first = first or path
        logger.info("loading %s from %s", spec.id, path)
        if file is spec.file and (doubt := FAMILIES[spec.family].doubt(spec, str(path))):
            logger.warning(doubt)
        states[file.role] = read_checkpoint(path)
    assert first is not None
    try:
        annotator = FAMILIES[spec.family].build(spec, states, dtype)
    except CheckpointError as error:
        others = "leave it out to have the pack's own" if spec.file.bundled else "remove it so that it is downloaded again"
        raise CheckpointError(f"{first} is {error}. Give the file of {spec.id}, or {others}") from error
    return Model(annotator, dtype, device, first)


def _weights_of(spec: ModelSpec, file: WeightFile) -> Path:
    """A model's file, from the pack, the user's folders or the network."""
    if file.bundled:
        return bundled_weights(file)
    if path := find_weights(file):
        verify(path, file)
        return path
    try:
        return download_weights(file, spec.licence, spec.licence_url, progress=host.progress_bar(100))
    except DownloadError as error:
        raise type(error)(f"{error}. To go on without a download, choose the model {BUNDLED_MODEL!r}: it comes with the pack") from error


def _parse_device(device: str | torch.device) -> torch.device:
    if isinstance(device, torch.device):
        return device
    if device == "auto":
        return host.default_device()
    if device not in DEVICE_CHOICES:
        raise ValueError(f"unknown device {device!r}; accepted: {', '.join(DEVICE_CHOICES)}")
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not available[device]:
        raise ValueError(f"device {device!r} is not available to this torch ({torch.__version__}); use --device auto or cpu")
    return torch.device(device)


def _parse_dtype(dtype: str, spec: ModelSpec, device: torch.device) -> torch.dtype:
    if dtype == "auto":
        return next(each for each in (*spec.auto_dtypes, torch.float32) if host.supports_dtype(each, device))
    if dtype not in DTYPES:
        raise ValueError(f"unknown dtype {dtype!r}; accepted: {', '.join(DTYPE_CHOICES)}")
    if not host.supports_dtype(DTYPES[dtype], device):
        logger.warning("%s on %s is slower than float32 here", dtype, device)
    return DTYPES[dtype]
