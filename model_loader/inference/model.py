"""A loaded model, ready to run on images, views of one scene and videos."""

from __future__ import annotations

import os
import sys
import weakref
from collections.abc import Callable, Hashable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import torch
from torch import Tensor, nn

from ...annotators.base import Annotator, other_size
from ...annotators.clips import ClipAnnotator
from ...annotators.family import Progress
from ...annotators.graphs import Engine
from ...annotators.preprocessing.resizing import Resizing
from ...annotators.specs.base import ModelSpec
from ...geometry.estimate import Estimate
from ...geometry.files.image_files import read_image
from ...geometry.textures.materials import Materials
from ...options.estimate import TORCH
from ...options.video import VideoOptions
from ...utils import check_images, without_autocast
from ..comfy import feedback
from .memory_budget import working_bytes
from .network import LoadedNetwork, Variation, WithSetting, batch_shape
from .panorama import check_perspective_model, panorama_estimates
from .recent import Make, recalled
from .stages import InferenceOptions, finished_parts, image_estimates, material_maps, scene_estimates
from .tiles import tile_estimates
from .video import VideoState, estimate_frames

if TYPE_CHECKING:
    from PIL.Image import Image

    Images = Tensor | np.ndarray | str | os.PathLike[str] | Image


class Model:
    """A loaded model: shared weights and its own variations. Immutable, and cheap to copy by `varied` and the like."""

    def __init__(self, network: LoadedNetwork) -> None:
        self._network = network

    @without_autocast
    def estimate(
        self,
        images: Images,
        size: int | None = None,
        progress: Progress | None = None,
        *,
        fov: float = 0.0,
        options: Any = None,
        derive: Callable[[Estimate], Estimate] | None = None,
        tiles: int | str | None = None,
        refine: bool | None = None,
    ) -> Estimate:
        """Estimates depth and/or normals of images, at image size.

        Args:
            images: A (B, 3, H, W) tensor in [0, 1]; an array (H, W, C) or (B, H, W, C) of uint8, uint16 or floats in [0, 1]; or one
                image as a path or a PIL image.
            size: Side in pixels of the frame that the network's input is fitted to (the spec's `resizing`); None = the model's default.
            progress: Called with (work done, total work), in images, tiles or a family's passes over them.
            fov: Field of view along the longer side in degrees, in (0, 180); 0 = unknown. It sets the estimate's camera, changes the
                depth of models whose metres depend on it (Depth Anything 3, Depth Pro, Metric3D, MoGe), and the normals of DSINE.
            options: The family's own (`annotators.marigold.MarigoldOptions`, ...); None = its defaults.
            derive: Adds derived maps such as normals. It runs before the depth is enlarged, or the network's pixel grid would show in them.
            tiles: For large images: number of overlapping tiles along the longer side that refine the estimate of the whole, or "auto";
                None or 0 = the whole only. See `inference.tiles`.
            refine: Whether `refine_geometry` aligns depth edges and normals with image edges. tiny also has an edge network of its own,
                which runs for None (the default) and True; False turns both off.

        Returns:
            A float32 estimate of B images, H x W, on the images' device; on the CPU for arrays and files.

        Raises:
            ValueError: A panorama model (see `estimate_panorama`), images that `utils.check_images` refuses, an unsupported size, or an
                invalid field of view or number of tiles.
            MemoryError: Not even one image fits.
            ArithmeticError: The network's outputs are NaN or infinite.
        """
        check_perspective_model(self.spec)
        asked = InferenceOptions(size=size, fov=fov, family_options=options, tiles=tiles, derive=derive, refine=refine)
        batch = _checked(images)
        estimates = tile_estimates if asked.tiles else image_estimates
        return self._whole("images", estimates, batch, asked, progress)

    @without_autocast
    def estimates(
        self,
        images: Images,
        size: int | None = None,
        progress: Progress | None = None,
        *,
        fov: float = 0.0,
        options: Any = None,
        refine: bool | None = None,
    ) -> Iterator[Estimate]:
        """Yields estimates of one or more images at the network's size, on its device, in batches as large as memory allows, on demand.

        Args:
            images, size, progress, fov, options: As in `estimate`.
            refine: False = without a model's own edge network, whose estimates may have image size. `refine_geometry` is never called.

        Raises:
            As `estimate`; images are checked before this returns, other errors occur during iteration.
        """
        check_perspective_model(self.spec)
        asked = InferenceOptions(size=size, fov=fov, family_options=options, refine=refine)

        def make(chunks: Iterable[Any]) -> Iterator[Estimate]:
            (batch,) = chunks
            yield from image_estimates(self._network, batch, asked, progress)

        return self._recalled("parts", asked, [_checked(images)], make)

    @without_autocast
    def estimate_scene(
        self,
        images: Images,
        size: int | None = None,
        progress: Progress | None = None,
        *,
        fov: float = 0.0,
        derive: Callable[[Estimate], Estimate] | None = None,
    ) -> Estimate:
        """Estimates depth and cameras of several images of one static scene, at image size.

        Args:
            images, size, progress, fov, derive: As in `estimate`; the views, in any order, all processed in one batch, share one camera.

        Returns:
            An estimate as from `estimate`, with intrinsics and extrinsics. Depth has one scale for all views and is measured from
            each view's own camera; for models without metres, depth and extrinsics share an unknown scale.

        Raises:
            ValueError: A model that estimates each image independently (see `Family.sees_scenes`), more views than any machine can process,
                or as for `estimate`.
            MemoryError: The views do not fit in one batch.
            ArithmeticError: As for `estimate`.
        """
        check_perspective_model(self.spec)
        asked, batch = InferenceOptions(size=size, fov=fov, derive=derive), _checked(images)
        return self._whole("scene", scene_estimates, batch, asked, progress)

    @without_autocast
    def estimate_panorama(
        self,
        images: Images,
        size: int | None = None,
        progress: Progress | None = None,
        *,
        any_aspect: bool = False,
        options: Any = None,
        derive: Callable[[Estimate], Estimate] | None = None,
    ) -> Estimate:
        """Estimates distances and normals of full-sphere (equirectangular) panoramas, at image size.

        The network runs on twelve perspective views of each, which are merged. A panorama model (`spec.for_panoramas`: DA²) instead runs on
        the whole twice, as it is and rolled by half a turn; their blend has no seam. To bound memory, panoramas wider than 2048 pixels
        are merged at 1/2, 1/3, ... of their size, the first that is at most so wide, and enlarged. DA² estimates at its input's size.

        Args:
            images: As in `estimate`, twice as wide as high.
            size: As in `estimate`, of each view; for a panorama model the width of its input.
            progress: Called with (passes done, total passes); views and merging both count.
            any_aspect: Whether to accept other aspect ratios, stretched over the whole sphere.
            options: As in `estimate`.
            derive: As in `estimate`, for the merged panorama.

        Returns:
            An estimate of B images, H x W, of `Projection.EQUIRECTANGULAR`: depth is the distance along each pixel's ray, in metres or, for
            models without metres, up to scale. Normals are in the axes of a level camera facing the panorama's centre: +Y is up.

        Raises:
            ValueError: Images that are not twice as wide as high or have no valid depth, a model without depth, or as for `estimate`.
            MemoryError, ArithmeticError: As for `estimate`.
        """
        # where views overlap, merging blurs refined edges
        asked = InferenceOptions(size=size, family_options=options, derive=derive, refine=False)
        source = partial(panorama_estimates, any_aspect=any_aspect)
        return self._whole(("panorama", any_aspect), source, _checked(images), asked, progress)

    @without_autocast
    def estimate_materials(
        self, images: Images, size: int | None = None, progress: Progress | None = None, *, options: Any = None
    ) -> Materials:
        """Estimates albedo, roughness and metallic of images, at image size, by a material model (`spec.materials`).

        They are on the images' device; on the CPU for arrays. Arguments and errors are as for `estimate`; a ValueError, too, for a model
        that predicts no materials.
        """
        asked, batch = InferenceOptions(size=size, family_options=options), _checked(images)
        total, height, width = batch_shape(batch)
        parts = material_maps(self._network, batch, asked, progress)
        return Materials.cat((part.resized(height, width) for part in parts), total, _home(batch))

    @without_autocast
    def estimate_video(
        self,
        frames: Iterable[Tensor],
        options: VideoOptions = VideoOptions(),  # noqa: B008 (it is frozen)
        *,
        size: int | None = None,
        fov: float = 0.0,
        derive: Callable[[Estimate], Estimate] | None = None,
        normals: bool = True,
        at_network_size: bool = False,
        network_threads: int = 0,
        progress: Progress | None = None,
        state: VideoState | None = None,
    ) -> Iterator[Estimate]:
        """Yields temporally stable depth and/or normals of a video, at frame size, in order. Memory does not grow with its length.

        Args:
            frames: The video in chunks of one or more frames, (B, 3, H, W) in [0, 1], all of one size. The next chunk is requested once the
                estimates of the last were consumed, by video models up to 31 frames earlier. A video without frames has no estimates.
            options: How frames are aligned and smoothed. Video models are stable by themselves and use only `cuts`.
            size, fov: As in `estimate`.
            derive: As in `estimate`; it gets the aligned, smoothed depth.
            normals: False = skip the normals of a model that predicts depth too, which saves time.
            at_network_size: True = yield estimates at the network's size, for callers that measure before enlarging them by
                `Estimate.resized` with the model's `resampling`.
            network_threads: Above 0, a single-image model estimates the next frames in a thread of its own, with this many torch threads,
                while the current ones are aligned and used. That thread requests chunks, up to two chunks earlier.
            progress: Called with (frames done, frames read so far).
            state: For a video that was stopped: where to continue, and what to save for the next stop. `frames` are then those without an
                estimate. None = a new video.

        Yields:
            Float32 estimates of one or more frames, on the frames' device.

        Raises:
            ValueError: A chunk of another size than the first (start a new video there), or as for `estimate`.
            MemoryError: Not even one frame, or one window of a video model, fits.
            ArithmeticError: As for `estimate`. A half-precision video model can fall back to float32 only before its first estimate.
        """
        check_perspective_model(self.spec)
        asked = InferenceOptions(
            size=size,
            fov=fov,
            derive=derive,
            refine=False,  # edges refined frame by frame flicker
            normals=normals,
            at_network_size=at_network_size,
            network_threads=network_threads,
        )
        if state is not None:
            return estimate_frames(self._network, frames, options, asked, progress, state)

        def make(chunks: Iterable[Tensor]) -> Iterator[Estimate]:
            return estimate_frames(self._network, chunks, options, asked, progress, VideoState(options))

        return self._recalled(options, asked, frames, make)

    def _whole(
        self, kind: Hashable, source: Callable[..., Iterator[Estimate]], batch: Any, asked: InferenceOptions, progress: Progress | None
    ) -> Estimate:

        def make(chunks: Iterable[Any]) -> Iterator[Estimate]:
            (images,) = chunks
            parts = source(self._network, images, asked, progress=progress)
            yield Estimate.cat(finished_parts(parts, images, asked, self.resampling), len(images), _home(images))

        (estimate,) = self._recalled(kind, asked, [batch], make)
        return estimate

    def _recalled(self, kind: Hashable, asked: InferenceOptions, chunks: Iterable[Any], make: Make) -> Iterator[Estimate]:
        """Estimates by `make`, or those that `recent` has cached."""
        if words := other_size(self.spec, asked.size):
            feedback.note(words)  # the log says it only once for all runs
        network = weakref.ref(self._network.shared)  # may be freed while the estimates stay cached
        return recalled((network, self.dtype, self._network.variations, kind, asked), chunks, make)

    def with_resizing(self, resizing: Resizing) -> Model:
        """A copy that resizes images in another way; see `Annotator.with_resizing`."""
        return self.varied(WithSetting("with_resizing", resizing))

    def with_options(self, options: Any) -> Model:
        """A copy with other default options; a TypeError for another family's, or any where the family has none."""
        return self.varied(WithSetting("with_options", options))

    def for_another_thread(self) -> Model:
        """This model for a second thread: itself if threads may share it, else a copy that shares the weights."""
        network = self._network.for_another_thread()
        return self if network is self._network else Model(network)

    def varied(self, variation: Variation) -> Model:
        """A copy with another variant of the annotator, sharing the weights."""
        return Model(self._network.varied(variation))

    @property
    def spec(self) -> ModelSpec:
        """Its entry in the table of models."""
        return self._network.spec

    @property
    def weights_path(self) -> Path:
        """The file that holds the network's weights."""
        return self._network.path

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the network computes in; float32 for good once half precision overflowed. Estimates are always float32."""
        return self._network.dtype

    @property
    def dtype_name(self) -> str:
        """`dtype` by its name in `load_model` and `--dtype`."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """The device to run on, if the model fits there."""
        return self._network.device

    @property
    def annotator(self) -> Annotator:
        """The network with its family's pre- and postprocessing, for exporters; on its device once an estimate has run."""
        return self._network.annotator

    @property
    def network(self) -> nn.Module:
        """The bare network; on its device once an estimate has run."""
        return self.annotator.network

    @property
    def engine(self) -> Engine | None:
        """The engine that runs the network; None = torch."""
        return self.annotator.engine

    @property
    def runtime(self) -> str:
        """The runtime, with version and device: "torch", "ONNX Runtime 1.31.1, CPU", ..."""
        return getattr(self.engine, "words", TORCH)

    @property
    def resampling(self) -> str:
        """The family's interpolation for resizing depth, as `Estimate.resized` takes it."""
        return self.annotator.resampling

    @property
    def is_video_model(self) -> bool:
        """Whether the network processes windows of several frames; other models run frame by frame."""
        return isinstance(self.annotator, ClipAnnotator)

    def network_size(self, height: int, width: int, size: int | None = None) -> tuple[int, int]:
        """Height and width of the network's input for images of this size; `size` as in `estimate`."""
        return self.annotator.checked_network_size(height, width, size)

    def reduced_size(self, height: int, width: int, size: int | None = None) -> tuple[int, int] | None:
        """The size to which images may be reduced first; see `Family.reduced_size`. `size` as in `estimate`."""
        return self.annotator.reduced_size(height, width, size or self.spec.default_size)

    def working_bytes(self, height: int, width: int, size: int | None = None) -> int:
        """Approximate bytes of memory to estimate one image; `size` as in `estimate`."""
        return working_bytes(self.annotator, (height, width), self.network_size(height, width, size))

    def batch_limit(self, height: int, width: int) -> int | None:
        """The largest batch of images of this size that fits, if a larger one ran out of memory; else None."""
        limits = self._network.current.batch_limits
        return min((count for sizes, count in limits.items() if sizes[:2] == (height, width)), default=None)

    def __reduce__(self) -> NoReturn:
        """Refuses pickling and copying."""
        raise TypeError(
            "a Model is not pickled: it holds memory of a device. Send its arguments, and call depth_normal.load_model with them in the "
            "other process"
        )

    def unload(self) -> None:
        """Removes the model from its device; the next run brings it back."""
        self._network.unload()


def _home(images: Tensor | np.ndarray) -> torch.device:
    return images.device if isinstance(images, Tensor) else torch.device("cpu")


def _checked(images: Images) -> Tensor | np.ndarray:
    """`utils.check_images` that also takes paths and PIL images."""
    if isinstance(images, str | os.PathLike):
        return check_images(read_image(images))
    if "PIL.Image" not in sys.modules or isinstance(images, Tensor | np.ndarray):
        return check_images(images)  # pyright: ignore[reportArgumentType]  which says what it accepts
    from PIL.Image import Image
    from PIL.ImageOps import exif_transpose

    if not isinstance(images, Image):
        return check_images(images)
    upright = exif_transpose(images)
    if not upright.mode.startswith(("I", "F")):  # Pillow would clip integers and floats to 0..255; `check_images` says what is accepted
        upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    return check_images(np.array(upright))
