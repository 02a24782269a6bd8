"""Image tensors: checks, layout, resizing and caching. Uses torch and numpy, and OpenCV for speed where it is installed."""

from __future__ import annotations

import functools
import inspect
import logging
import math
import sys
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, nullcontext
from io import IOBase
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

logger = logging.getLogger(__name__)

Arguments = ParamSpec("Arguments")
Made = TypeVar("Made")

_MOST_COPIED_AT_ONCE = 2**28
_SAMPLES_BORDERS = frozenset(("cpu", "cuda"))
"""Devices whose `grid_sample` supports padding_mode="border"."""
_AUTOCAST_DEVICES = tuple(filter(torch.amp.is_autocast_available, ("cpu", "cuda", "mps", "xpu", "mtia", "hpu", "xla", "privateuseone")))


def to_planar(image: Tensor) -> Tensor:
    """Returns any ComfyUI image (as `to_rgb`) as a channels-first view (B, C, H, W), without checking its values.

    Raises:
        ValueError: Wrong rank or channel count, or an empty batch or image.
        TypeError: Not a floating-point tensor.
    """
    if not isinstance(image, Tensor):
        raise TypeError(f"the image is of type {type(image).__name__}; expected a tensor (batch, height, width, channels) in [0, 1]")
    if not image.is_floating_point():
        raise TypeError(f"the image has dtype {image.dtype}; expected floating point values in [0, 1]")
    if image.ndim == 3:
        image = image[None]
    if image.ndim != 4 or image.shape[-1] not in (1, 3, 4):
        raise ValueError(f"the image has shape {tuple(image.shape)}; expected (batch, height, width, channels) with 1, 3 or 4 channels")
    if image.numel() == 0:
        raise ValueError(f"the batch is empty (shape {tuple(image.shape)}); give at least one image of at least 1x1 pixel")
    return image.movedim(-1, 1)


def to_images(image: Tensor) -> Tensor:
    """Converts any ComfyUI image, as `to_rgb`, to channels first (B, C, H, W), HDR values above 1 clamped; a view if there are none."""
    planar = to_planar(image)
    low, high = check_levels(planar, hdr=True)
    return planar if low >= 0 and high <= 1 else planar.clamp(0, 1)


def to_rgb(image: Tensor) -> Tensor:
    """Converts any ComfyUI image to planar RGB, (B, 3, H, W) float32 in [0, 1].

    Args:
        image: (B, H, W, C) or (H, W, C) floats, C = 1 (grey), 3 (RGB) or 4 (RGBA, composited on white); clamped to [0, 1].

    Raises:
        ValueError: Wrong rank, channel count, an empty batch or image, or levels that `check_levels` refuses in HDR images.
        TypeError: Not a floating-point tensor.
    """
    return images_to_rgb(to_images(image))


def check_images(images: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """Checks images from Python code and returns them as a batch; `images_to_rgb` converts the batch or slices of it.

    Args:
        images: A tensor (B, C, H, W) in [0, 1], or an array (H, W), (H, W, C) or (B, H, W, C) of uint8, uint16 or floats in [0, 1].

    Returns:
        The same values as a batch: (B, C, H, W) of a tensor, (B, H, W, C) of an array.

    Raises:
        TypeError: Neither a tensor nor an array (a PIL image, a path), or another dtype.
        ValueError: Values beyond [0, 1] by more than resampling overshoots; otherwise as `to_rgb`.
    """
    batch = _batch_as_stored(images)
    check_levels(batch)
    return batch


def check_levels(images: Tensor | np.ndarray, hdr: bool = False, ends: Tensor | None = None) -> tuple[float, float]:
    """Returns the minimum and maximum of images in [0, 1]. Synchronises the device once; twice for HDR images.

    Args:
        images: (B, C, H, W), or an array (B, H, W, C).
        hdr: Accept values above 1 as long as at least half of the non-black values are 8 or less.
        ends: The `ends_of_parts` of a tensor, if fetched already, with other values: then the device is synchronised only for HDR images.

    Raises:
        ValueError: Another range, such as 0 to 255 or -1 to 1, or NaN or infinite values.
    """
    low, high = finite_bounds(images, ends)
    # Resampling overshoots by less than half of the range; 0..255 and -1..1 exceed that.
    is_beyond = high > 1.5 and (not hdr or 2 * int((images > 8).sum()) > int((images > 0).sum()))
    if is_beyond or low < -0.5 * (max(1.0, high) if hdr else 1.0):
        raise ValueError(
            f"the images hold values from {low:g} to {high:g}; expected [0, 1]{', few of them brighter' * hdr}: divide what is 0..255 by "
            "255, make -1..1 (x + 1) / 2"
        )
    return low, high


def images_to_rgb(images: Tensor | np.ndarray) -> Tensor:
    """Converts `check_images`' or `to_images`' result, or a slice, to a copy (B, 3, H, W) float32 in [0, 1], without synchronising."""
    if isinstance(images, np.ndarray):
        images = torch.from_numpy(np.ascontiguousarray(_scaled(images))).movedim(-1, 1)
    return on_white(images.to(torch.float32).clamp(0, 1)).expand(-1, 3, -1, -1)


def ends_of_parts(images: Tensor) -> Tensor:
    """The minimum and the maximum of each part of images (B, C, H, W), (2 * parts,), for `check_levels`; NaN if a value is."""
    parts = images[None]
    if images.device.type == "cpu":  # in memory order: torch copies any other order first, which is slow
        parts = images.permute(sorted(range(4), key=images.stride, reverse=True))
    return torch.stack([end for part in parts for end in part.aminmax()])


def finite_bounds(images: Tensor | np.ndarray, ends: Tensor | None = None) -> tuple[float, float]:
    """Returns the minimum and maximum with one device synchronisation; 0 and 1 for integer arrays. `ends` as in `check_levels`.

    Raises ValueError: NaN or infinite pixels.
    """
    if isinstance(images, Tensor):
        bounds = np.array((ends_of_parts(images) if ends is None else ends).tolist()).reshape(-1, 2)
        low, high = float(bounds[:, 0].min()), float(bounds[:, 1].max())
    elif np.issubdtype(images.dtype, np.unsignedinteger):
        return 0.0, 1.0
    else:
        low, high = float(images.min()), float(images.max())
    if math.isfinite(low) and math.isfinite(high):
        return low, high
    finite = torch.isfinite(images) if isinstance(images, Tensor) else np.isfinite(images)
    bad, total = int((~finite).sum()), math.prod(finite.shape)
    raise ValueError(
        f"the image holds {bad} NaN or infinite values of {total}; every pixel must be a number in [0, 1]: replace them "
        "(torch.nan_to_num, numpy.nan_to_num). A VAE in half precision makes such images: run it in float32 (ComfyUI: --fp32-vae)"
    )


def _scaled(array: np.ndarray) -> np.ndarray:
    """Integers as floats in [0, 1], floats as float32. Raises TypeError for other dtypes."""
    if array.dtype.kind == "u" and array.dtype.itemsize <= 2:  # 0..255 in a wider type would be black
        return array.astype(np.float32) / np.iinfo(array.dtype).max
    if np.issubdtype(array.dtype, np.floating):
        return array.astype(np.float32, copy=False)
    raise TypeError(f"the image is an array of {array.dtype}; expected uint8, uint16 or floats in [0, 1]")


def _batch_as_stored(images: Tensor | np.ndarray) -> Tensor | np.ndarray:
    """`check_images` without the check of the values."""
    if isinstance(images, np.ndarray):
        _scaled(np.empty(0, images.dtype))
        batch = images[None, ..., None] if images.ndim == 2 else images[None] if images.ndim == 3 else images
        channels, layout, remedy = -1, "an array (H, W), (H, W, C) or (B, H, W, C)", "transpose(1, 2, 0) makes that of (C, H, W)"
    elif isinstance(images, Tensor):
        batch, channels, layout, remedy = images, 1, "a tensor (B, C, H, W)", "tensor[None] adds B, tensor.movedim(-1, 1) moves C there"
    else:
        kind = f"{type(images).__module__}.{type(images).__qualname__}".removeprefix("builtins.")
        remedy = "Model.estimate takes one image of PIL, or its path, too; numpy.asarray and depth_normal.read_image make arrays of them"
        if isinstance(images, bytes | bytearray | memoryview | IOBase):
            remedy = "Model.estimate takes a path, or an image of PIL: PIL.Image.open(file), and PIL.Image.open(io.BytesIO(data)) of bytes"
        elif isinstance(images, list | tuple):
            remedy = "numpy.stack(images) makes one array of images of one size"
        raise TypeError(f"the images are a {kind}; expected a tensor (B, 3, H, W) or an array (H, W, C) or (B, H, W, C): {remedy}")
    if batch.ndim != 4 or batch.shape[channels] not in (1, 3, 4):
        raise ValueError(f"the images have shape {tuple(images.shape)}; expected {layout} with C = 1, 3 or 4: {remedy}")
    if 0 in batch.shape:
        raise ValueError(f"the batch is empty (shape {tuple(images.shape)}); give at least one image of at least 1x1 pixel")
    if isinstance(batch, Tensor) and not batch.is_floating_point():
        raise TypeError(f"the images have dtype {batch.dtype}; expected floats in [0, 1]: tensor / 255 makes that of 8 bits")
    return batch


def to_image(planar: Tensor) -> Tensor:
    """Converts (B, 1, 3 or 4, H, W) in [0, 1] to ComfyUI's IMAGE (B, H, W, 3 or 4), clamped."""
    wide = planar.clamp(0, 1).expand(-1, max(3, planar.shape[1]), -1, -1)
    return wide.contiguous(memory_format=torch.channels_last).movedim(1, -1).contiguous()


def exact_dtype(device: torch.device) -> torch.dtype:
    """float64 where the device surely supports it (MPS does not), for values that float32 rounds too coarsely."""
    return torch.float64 if device.type in ("cpu", "cuda") else torch.float32


def sent_to(device: torch.device, values: Tensor) -> Tensor:
    """Copies to a device, asynchronously only for CUDA: MPS may copy after the source memory was reused."""
    return values.to(device, non_blocking=device.type == "cuda")


def sample_at(values: Tensor, places: Tensor, mode: str = "bilinear") -> Tensor:
    """Samples maps at `places` (B, h, w, 2) of `F.grid_sample` with `align_corners=False`; outside are the border's values.

    Mode "bilinear", "nearest" or "bicubic". Before torch 2.13, MPS supports neither border padding nor "bicubic", and raises even with
    PYTORCH_ENABLE_MPS_FALLBACK.
    """
    if values.device.type not in _SAMPLES_BORDERS:
        if mode == "bicubic":
            return sample_at(values.cpu(), places.cpu(), mode).to(values.device)
        ends = [1 - 1 / side for side in (values.shape[-1], values.shape[-2])]
        clamped = [places[..., axis].clamp(-end, end) for axis, end in enumerate(ends)]
        return F.grid_sample(values, torch.stack(clamped, -1), mode, "zeros", align_corners=False)
    return F.grid_sample(values, places, mode, "border", align_corners=False)


def to_cpu(maps: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Detached maps on the CPU, sharing memory: one joint copy, because each copy synchronises the device."""
    maps = {name: each.detach() for name, each in maps.items()}
    if all(each.device.type == "cpu" for each in maps.values()):
        return maps
    if sum(each.nbytes for each in maps.values()) > _MOST_COPIED_AT_ONCE:
        return {name: each.cpu() for name, each in maps.items()}
    by_alignment = sorted(maps.items(), key=lambda item: -item[1].element_size())
    joined = torch.cat([each.contiguous().view(-1).view(torch.uint8) for _, each in by_alignment]).cpu()
    parts = joined.split([each.nbytes for _, each in by_alignment])
    copies = {name: part.view(each.dtype).view(each.shape) for part, (name, each) in zip(parts, by_alignment, strict=True)}
    return {name: copies[name] for name in maps}


def resize_map(values: Tensor, height: int, width: int, growing: str = "bilinear") -> Tensor:
    """Resamples maps (B, C, H, W): area average along axes that shrink, interpolation along axes that grow.

    Args:
        values, height, width: Maps or images, and their new size in pixels.
        growing: "bilinear" (never outside the range of the neighbours), "bicubic" or "nearest-exact"; all as with `align_corners=False`.

    Source:
        The kernels of OpenCV's INTER_AREA, INTER_LINEAR and INTER_CUBIC (a = -0.75).
    """
    if height < values.shape[-2] and width < values.shape[-1] and (cv2 := opencv_for(values)):
        return _area_average_by_opencv(cv2, values, height, width)
    rows, columns = values.shape[-2] // height, values.shape[-1] // width
    if rows * columns > 1 and values.shape[-2:] == (rows * height, columns * width):
        return F.avg_pool2d(values, (rows, columns))
    if height < values.shape[-2]:
        values = _area_average(values, height, -2)
    if width < values.shape[-1]:
        values = _area_average(values, width, -1)
    if (height, width) == values.shape[-2:]:
        return values
    # OpenCV spreads non-finite values farther than torch.
    if growing == "bilinear" and (cv2 := opencv_for(values)) and values.sum().isfinite():
        return _enlarged_by_opencv(cv2, values, height, width)
    # Map by map: torch takes twice as long for several channels together with one thread. "bicubic" keeps channels_last.
    maps = values.reshape(-1, 1, *values.shape[-2:]) if growing == "bilinear" else values
    grown = F.interpolate(maps, (height, width), mode=growing, align_corners=None if growing == "nearest-exact" else False)
    return grown.view(*values.shape[:2], height, width)


def split_alpha(images: Tensor) -> tuple[Tensor, Tensor | None]:
    """Splits images (B, C, H, W) into colour (B, 1 or 3, H, W) and alpha (B, 1, H, W), None if there is none."""
    return (images[:, :3], images[:, 3:]) if images.shape[1] == 4 else (images, None)


def on_white(images: Tensor) -> Tensor:
    """Composites images (B, C, H, W) in [0, 1] over white: (B, 1 or 3, H, W)."""
    colours, alpha = split_alpha(images)
    return images if alpha is None else colours * alpha + (1 - alpha)


def resize_image(image: Tensor, height: int, width: int) -> Tensor:
    """Resizes images (B, C, H, W) in [0, 1] for a network: cubic (clamped) along axes that grow, area along axes that shrink."""
    resized = resize_map(image, height, width, "bicubic")
    return resized.clamp(0, 1) if height > image.shape[-2] or width > image.shape[-1] else resized


def brightness(images: Tensor) -> Tensor:
    """The channel mean of images (B, 3, H, W), (B, 1, H, W); a third of torch's time on a CPU. Grey images are returned as is."""
    if images.shape[1] == 1:
        return images
    if images.device.type != "cpu":
        return images.mean(1, keepdim=True)
    red, green, blue = images.split(1, 1)
    return (red + green).add_(blue).div_(3)


def is_above(values: Tensor, other: Tensor | float, out: Tensor | None = None) -> Tensor:
    """`torch.gt`; on a CPU by NumPy, in a sixth of torch's time."""
    if not _is_plain(values) or _is_traced():
        return torch.gt(values, other, out=out)
    numbers = other.numpy() if isinstance(other, Tensor) else other
    return torch.from_numpy(np.asarray(np.greater(values.numpy(), numbers, out=None if out is None else out.numpy())))


def as_numbers(chosen: Tensor, like: Tensor) -> Tensor:
    """Converts a bool map to 1 and 0 in the dtype of `like`; on a CPU in a fifth of torch's time for bools."""
    return (chosen.view(torch.uint8) if chosen.device.type == "cpu" else chosen).to(like)


def largest_channel(values: Tensor) -> Tensor:
    """The channel maximum of (B, C, H, W), (B, 1, H, W). On a CPU channel by channel, in a fraction of the time of `amax`."""
    if values.device.type != "cpu":
        return values.amax(1, keepdim=True)
    return functools.reduce(torch.maximum, values.split(1, 1))


def dot_products(first: Tensor, second: Tensor) -> Tensor:
    """Dot products (B, 1, ...) of vectors (B, C, ...). Unrolled: a CPU sums over so few channels many times slower."""
    if first.device.type != "cpu":
        return (first * second).sum(1, keepdim=True)
    (one, other), *rest = zip(first.split(1, 1), second.split(1, 1), strict=True)
    products = one * other
    for one, other in rest:
        products.addcmul_(one, other)
    return products


def joined(maps: Sequence[Tensor], axis: int = 0) -> Tensor:
    """Concatenates maps; a single one is not copied."""
    return maps[0] if len(maps) == 1 else torch.cat(list(maps), axis)


def vector_lengths(vectors: Tensor) -> Tensor:
    """Lengths (B, 1, ...) of vectors (B, C, ...); half precision is computed in float32.

    On a CPU 20 to 90 times as fast as `torch.linalg.vector_norm` over so few channels.
    """
    if vectors.dtype in (torch.float16, torch.bfloat16):
        return vector_lengths(vectors.float()).to(vectors.dtype)
    if vectors.device.type != "cpu":
        return torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    return dot_products(vectors, vectors).sqrt()


def unit_vectors(vectors: Tensor) -> Tensor:
    """Normalises vectors (B, C, ...) to length 1; zero stays zero. Much faster than `F.normalize` (see `vector_lengths`)."""
    if vectors.dtype in (torch.float16, torch.bfloat16):
        return unit_vectors(vectors.float()).to(vectors.dtype)
    return vectors / vector_lengths(vectors).clamp(min=1e-12)


def kept_for_sizes(function: Callable[[int, int, torch.device], Made]) -> Callable[[Tensor], Made]:
    """Turns a function of height, width and device into one of maps (..., H, W). On the CPU it caches 32 sizes."""
    # Tensors made in inference mode could not be used outside of it.
    kept = functools.lru_cache(32)(torch.inference_mode(False)(function))

    @functools.wraps(function)
    def call(maps: Tensor) -> Made:
        height, width = maps.shape[-2:]
        return (kept if type(maps) is Tensor and maps.device.type == "cpu" else function)(height, width, maps.device)

    return call


def kept_on_device(function: Callable[..., Made]) -> Callable[..., Made]:
    """Turns a function of device, dtype and hashable values into one of a tensor (for device and dtype) and the values.

    Caches the last 256 results, which must be small and never modified: sending a constant to a GPU costs as much as a kernel.
    """
    kept = functools.lru_cache(256)(torch.inference_mode(False)(function))

    @functools.wraps(function)
    def call(like: Tensor, *values: Any) -> Made:
        return (kept if _holds_numbers(like) else function)(like.device, like.dtype, *values)

    return call


def kept_constants(function: Callable[..., Made]) -> Callable[..., Made]:
    """`kept_on_device` for a function of numbers that makes one tensor or a tuple of tensors on the CPU in its own dtype."""

    @kept_on_device
    def made(device: torch.device, _: torch.dtype, *numbers: Any) -> Any:
        with nullcontext() if _is_traced() else torch.device("cpu"):  # torch.compile cannot follow it
            constants: Any = function(*numbers)
        return tuple(sent_to(device, each) for each in constants) if isinstance(constants, tuple) else sent_to(device, constants)

    return functools.wraps(function)(made)


@kept_constants
def whole_numbers(first: int, end: int) -> Tensor:
    """(K,) integers from `first` to `end` (exclusive); the first argument of a call is a tensor on the wanted device."""
    return torch.arange(first, end)


@kept_constants
def counted(length: int) -> Tensor:
    """(length,) 0, 1, 2, ... in float32; the first argument of a call is a tensor on the wanted device."""
    return torch.arange(length, dtype=torch.float32)


@kept_on_device
def constant(device: torch.device, dtype: torch.dtype, values: Any) -> Tensor:
    """A tensor of (nested tuples of) numbers; the first argument of a call is a tensor with the wanted dtype and device."""
    return sent_to(device, torch.tensor(values, dtype=dtype, device="cpu"))


def _holds_numbers(values: Tensor) -> bool:
    """False while a function is traced or compiled: its tensors are useless afterwards."""
    fake_tensors = sys.modules.get("torch._subclasses.fake_tensor")
    is_fake = values.is_meta or (fake_tensors is not None and isinstance(values, fake_tensors.FakeTensor))
    return not (is_fake or _is_traced())


def _is_traced() -> bool:
    return torch.compiler.is_compiling() or torch.jit.is_tracing()  # pyright: ignore[reportPrivateImportUsage]


def without_autocast(function: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """Decorator: disables the caller's `torch.autocast`, which rounds products to half precision.

    In a generator it is disabled only while an item is computed, not in the caller's code in between.
    """

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        with _autocast_off():
            made = function(*args, **kwargs)
        return cast(Made, _each_without_autocast(made)) if isinstance(made, Generator) else made

    return call


@contextmanager
def _autocast_off() -> Iterator[None]:
    enabled = [device for device in _AUTOCAST_DEVICES if torch.is_autocast_enabled(device)]
    try:
        for device in enabled:
            torch.set_autocast_enabled(device, False)
        yield
    finally:
        for device in enabled:
            torch.set_autocast_enabled(device, True)


def _each_without_autocast(items: Generator[Made, None, None]) -> Iterator[Made]:
    with closing(items):
        while True:
            with _autocast_off():
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


def with_usual_defaults(function: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """Decorator: torch's default dtype and device are float32 and the CPU, whatever other code has set. For one thread at a time."""

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        now, dtype = torch.empty(0), torch.get_default_dtype()  # torch 2.7 has no answer for the device once one was unset
        if dtype == torch.float32 and now.device.type == "cpu":
            return function(*args, **kwargs)
        torch.set_default_dtype(torch.float32)
        try:
            with torch.device("cpu"):
                return function(*args, **kwargs)
        finally:
            torch.set_default_dtype(dtype)

    return call


def in_float32(function: Callable[Arguments, Made]) -> Callable[Arguments, Made]:
    """Decorator: computes in float32 (float64 if an input is) and returns maps of `image`'s dtype.

    Half precision is too coarse for squares and quotients of colours, and few operations mix dtypes.
    The function returns a map or a named tuple of maps.
    """
    signature = inspect.signature(function)
    wide: Callable[..., Any] = function

    @without_autocast
    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Made:
        given = signature.bind_partial(*args, **kwargs).arguments
        image, tensors = given.get("image"), [each for each in given.values() if _is_floating(each)]
        # Camera matrices (B, 3, 3) are ignored: float64 takes twice as long.
        dtype = functools.reduce(torch.promote_types, (each.dtype for each in tensors if each.ndim != 3), torch.float32)
        if image is None or not _is_floating(image) or all(each.dtype == dtype for each in tensors):
            return function(*args, **kwargs)
        new = {name: each.to(dtype) if _is_floating(each) else each for name, each in given.items()}
        computed = wide(**new)
        narrow: Any = (
            type(computed)(*(each.to(image.dtype) for each in computed)) if isinstance(computed, tuple) else computed.to(image.dtype)
        )
        return narrow

    return call


def _is_floating(value: Any) -> bool:
    return isinstance(value, Tensor) and value.is_floating_point()


@functools.cache
def opencv() -> Any:
    """The module `cv2` of any wheel, or None if it cannot be imported.

    It is optional: ComfyUI does not install it, and pip writes one of its four wheels over another.
    """
    try:
        import cv2
    except ImportError as error:  # not installed, or it lacks a system library such as libGL
        logger.info("OpenCV cannot be imported (%s): some steps on the CPU are slower without it", error)
        return None
    # Uninstalling one of two wheels leaves an empty folder, which can be imported.
    return cv2 if hasattr(cv2, "resize") else None


def opencv_for(values: Tensor) -> Any:
    """`opencv()` for non-empty plain float32 on the CPU without gradient, else None.

    None also while traced or compiled: OpenCV's results would be constants of the graph.
    """
    return opencv() if _is_plain(values) and values.numel() and not _is_traced() else None


def _is_plain(values: Tensor) -> bool:
    return type(values) is Tensor and values.device.type == "cpu" and values.dtype == torch.float32 and not values.requires_grad


def _area_average_by_opencv(cv2: Any, values: Tensor, height: int, width: int) -> Tensor:
    """Shrinks both axes at once, as `_area_average` in a third of its time. Keeps the memory format."""
    batch, channels = values.shape[:2]
    interleaved = 1 < channels <= 4 and values.is_contiguous(memory_format=torch.channels_last)
    images = values.movedim(1, -1) if interleaved else values.reshape(-1, *values.shape[2:])
    stacked = values.new_empty(len(images), height, width, *images.shape[3:])
    for source, target in zip(images.numpy(), stacked.numpy(), strict=True):
        cv2.resize(np.ascontiguousarray(source), (width, height), target, interpolation=cv2.INTER_AREA)
    return stacked.movedim(-1, 1) if interleaved else stacked.view(batch, channels, height, width)


def _enlarged_by_opencv(cv2: Any, values: Tensor, height: int, width: int) -> Tensor:
    """Torch's bilinear interpolation up to rounding, in a fifth of its time with one thread."""
    grown = values.new_empty(*values.shape[:2], height, width)
    for source, target in zip(values.contiguous().flatten(0, 1).numpy(), grown.flatten(0, 1).numpy(), strict=True):
        cv2.resize(source, (width, height), target, interpolation=cv2.INTER_LINEAR)
    return grown


def _area_average(values: Tensor, length: int, axis: int) -> Tensor:
    """Shrinks one axis: pixel i is the mean of the source interval [i, i + 1) * old / new, border pixels weighted by their share.

    On a CPU it adds tap after tap, so that little more than the result is in memory.
    """
    rows, weights = _area_taps(values, values.shape[axis], length)
    if values.device.type != "cpu":  # as few operations as possible
        taken = values.index_select(axis, rows.flatten()).unflatten(axis, rows.shape)
        return (taken * (weights[..., None] if axis == -2 else weights)).sum(axis - 1)
    total = None
    for row, weight in zip(rows, weights, strict=True):
        share = values.index_select(axis, row).mul_(weight[:, None] if axis == -2 else weight)
        total = share if total is None else total.add_(share)
    assert total is not None
    return total


@kept_on_device
def _area_taps(device: torch.device, dtype: torch.dtype, old: int, length: int) -> tuple[Tensor, Tensor]:
    """Source rows of each output pixel and their weights, (taps, length) each; surplus taps repeat the last row with weight 0."""
    # On the CPU: not every device has float64, which places borders exactly.
    edges = torch.arange(length + 1, dtype=torch.float64, device="cpu") * (old / length)
    first, last = edges[:-1].floor().long(), (edges[1:].ceil().long() - 1).clamp(max=old - 1)
    taps = torch.arange(old // length if old % length == 0 else math.ceil(old / length) + 1, device="cpu")[:, None]
    rows = torch.minimum(first + taps, last)
    overlap = torch.minimum(edges[1:], rows.double() + 1) - torch.maximum(edges[:-1], rows.double())
    weights = torch.where(first + taps <= last, overlap * (length / old), 0).to(dtype)
    return sent_to(device, rows), sent_to(device, weights)
