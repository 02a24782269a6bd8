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

from ...annotators.base import Annotator
from ...annotators.checks import other_size
from ...annotators.family import Progress
from ...annotators.graphs import Engine
from ...annotators.preprocessing.resizing import Resizing
from ...annotators.specs.base import ModelSpec
from ...annotators.video_depth_anything import VideoDepthAnythingAnnotator
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
    """A loaded model: shared weights with variations of its own.

    It never changes, and another one of the same weights costs next to nothing.
    """

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
        """Depth and/or normals of images, at the images' own size.

        Args:
            images: (B, 3, H, W) tensor with values in [0, 1]; array (H, W, C) or (B, H, W, C) of uint8, uint16 or floats in [0, 1]; or one
                image as a file's path, or of PIL.
            size: Side in pixels of the frame that the network's input is fitted to (the spec's `resizing`); None = the model's default.
            progress: Called with (work done, work in all), in images, tiles or a family's passes over them.
            fov: Degrees that the longer side of the images spans, between 0 and 180 exclusive; 0 = unknown. It becomes the estimate's
                camera, and metres that depend on the camera (Depth Anything 3, Metric3D, MoGe) follow it.
            options: The family's own (`annotators.marigold.MarigoldOptions`, ...); None = its defaults.
            derive: Adds to an estimate what follows from it, such as normals. They are computed before the depth is enlarged; otherwise
                the network's pixel grid would show in them.
            tiles: For large images: how many overlapping tiles along the longer side are estimated beside the whole image, or "auto";
                None or 0 = the whole alone. See `inference.tiles`.
            refine: Whether depth edges and normals are aligned with the images' edges, by `refine_geometry`. None = as the model does by
                default: tiny has a network of its own that makes depth follow the images' edges, which runs before `refine_geometry` too.
                False = not even by that.

        Returns:
            An estimate of B images, H x W, float32, on the CPU or where the images were.

        Raises:
            ValueError: A model of panoramas (`estimate_panorama` runs those), images that `utils.check_images` refuses, a size beyond what
                a network can be run at, no field of view, or no number of tiles.
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
        """The estimates at the network's size, on its device, as many images in one batch as the memory holds; arguments as `estimate`.

        Args:
            images, size, progress, fov, options: As `estimate`.
            refine: Whether a model's own network for edges runs, as by default it does; such estimates may have the images' size.
                `refine_geometry` is not called.

        Returns:
            Estimates of one or more images, in order, each computed when it is asked for.

        Raises:
            As `estimate`; images are checked before this returns, other errors come with the parts.
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
        """Depth and cameras of images that show one scene that does not move, at the images' own size.

        Args:
            images: The views, in any order, all processed in one batch. Further arguments are as of `estimate`; `fov` is of the one camera
                that took all of them.

        Returns:
            An estimate as of `estimate`, with the cameras' intrinsics and extrinsics. Depth has one scale for all views and is 0 at each
            camera; where nothing determines metres, metric depth and extrinsics are up to that scale.

        Raises:
            ValueError: A model that estimates each image independently (`spec.sees_scenes`); more views than fit in any machine; or as
                `estimate`.
            MemoryError: The views do not fit in one batch.
            ArithmeticError: As `estimate`.
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
        """Distances and normals of panoramas of the whole sphere (equirectangular), at the images' own size.

        The network runs on twelve perspective views of each, which are merged. A model of panoramas (`spec.for_panoramas`: DA²) runs on the
        whole instead, twice: as it is and rolled by half a turn, whose blend has no seam. Memory is bounded: panoramas wider than 2048
        pixels (DA²: 1092) are estimated at that width and enlarged.

        Args:
            images: As `estimate`, twice as wide as high.
            size: As `estimate`, of each view; of a model of panoramas the width of its input.
            progress: Called with (passes done, passes in all), views and the merging of each panorama.
            any_aspect: Whether images of other sides are taken for the whole sphere as they are.
            options: As `estimate`.
            derive: As `estimate`, of the merged panorama.

        Returns:
            An estimate of B images, H x W, of `Projection.EQUIRECTANGULAR`: depth is the distance along each pixel's ray, in metres or,
            of models that know none, up to scale. Normals are in the axes of a level camera that looks at the panorama's middle: up is +Y.

        Raises:
            ValueError: Images that are not twice as wide as high, a model without depth, or as `estimate`.
            MemoryError, ArithmeticError: As `estimate`.
        """
        # what is sharp in one view is blurred where views overlap
        asked = InferenceOptions(size=size, family_options=options, derive=derive, refine=False)
        source = partial(panorama_estimates, any_aspect=any_aspect)
        return self._whole(("panorama", any_aspect), source, _checked(images), asked, progress)

    @without_autocast
    def estimate_materials(
        self, images: Images, size: int | None = None, progress: Progress | None = None, *, options: Any = None
    ) -> Materials:
        """Albedo, roughness and metallic of images, at the images' own size, by a model of materials (`spec.materials`).

        Args:
            images, size, progress, options: As `estimate`.

        Returns:
            Materials of B images, H x W, float32, on the CPU or where the images were.

        Raises:
            ValueError: A model that gives no materials; or as `estimate`.
            MemoryError, ArithmeticError: As `estimate`.
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
        """Temporally stable depth and/or normals of a video, at its frames' own size, in order. Memory does not grow with its length.

        Args:
            frames: The video in chunks of one or more frames: (B, 3, H, W) in [0, 1], all of one size. A chunk is asked for when the
                estimates of the one before have been taken, by video models up to 31 frames sooner; a video without frames has no
                estimates.
            options: How frames are aligned and smoothed. Video models are stable by themselves, and use only `cuts`.
            size, fov: As `estimate`.
            derive: As `estimate`; it gets the depth that is aligned and smoothed.
            normals: False = without the normals of a model that gives depth too, which saves their part of the time.
            at_network_size: True = the estimates at the network's size, for a caller who measures before enlarging by
                `Estimate.resized` with the model's `resampling`.
            network_threads: Above 0, a model of single images estimates the next frames in a thread of its own, with so many of torch's
                threads, while these are aligned and used: a chunk is then asked for up to two chunks sooner, by that thread.
            progress: Called with (frames done, frames read so far).
            state: Where a video that was stopped continues, and what is to be kept to continue later: the frames are then those that have
                no estimate yet. None = a video begins.

        Yields:
            Estimates of one or more frames, float32, where the frames were.

        Raises:
            ValueError: A chunk of another size than the first (start a new video there), and as `estimate`.
            MemoryError: Not even one frame, or one window of a video model, fits.
            ArithmeticError: As `estimate`; in half precision a video model falls back to float32 only before its first estimate.
        """
        check_perspective_model(self.spec)
        asked = InferenceOptions(
            size=size,
            fov=fov,
            derive=derive,
            refine=False,  # edges that are found frame by frame flicker
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
        """The finished estimate of a batch by one of the sources."""

        def make(chunks: Iterable[Any]) -> Iterator[Estimate]:
            (images,) = chunks
            parts = source(self._network, images, asked, progress=progress)
            yield Estimate.cat(finished_parts(parts, images, asked, self.resampling), len(images), _home(images))

        (estimate,) = self._recalled(kind, asked, [batch], make)
        return estimate

    def _recalled(self, kind: Hashable, asked: InferenceOptions, chunks: Iterable[Any], make: Make) -> Iterator[Estimate]:
        """Estimates as `recent.recalled` gives them."""
        if words := other_size(self.spec, asked.size):
            feedback.note(words)  # the log says it once for all runs
        network = weakref.ref(self._network.shared)  # it may be freed meanwhile
        return recalled((network, self.dtype, self._network.variations, kind, asked), chunks, make)

    def with_resizing(self, resizing: Resizing) -> Model:
        """The same model with images resized in another way than its authors'; see `Annotator.with_resizing`."""
        return self.varied(WithSetting("with_resizing", resizing))

    def with_options(self, options: Any) -> Model:
        """The same model with other options of its family in calls that name none; see `Annotator.with_options`.

        Raises:
            TypeError: Options of another family, or for a family that has none.
        """
        self.annotator.with_options(options)  # what is wrong is said here, not in the first call
        return self.varied(WithSetting("with_options", options))

    def for_another_thread(self) -> Model:
        """The same model with the same weights, for a thread that runs beside this one's."""
        network = self._network.for_another_thread()
        return self if network is self._network else Model(network)

    def varied(self, variation: Variation) -> Model:
        """The same model with another variant of its annotator, which shares the weights."""
        return Model(self._network.varied(variation))

    @property
    def spec(self) -> ModelSpec:
        """Its entry in the table of models."""
        return self._network.spec

    @property
    def weights_path(self) -> Path:
        """The file that the network was read from."""
        return self._network.path

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the network computes in; estimates are float32. A half precision that overflowed is float32 from then on."""
        return self._network.dtype

    @property
    def dtype_name(self) -> str:
        """The same as `load_model` and `--dtype` call it."""
        return str(self.dtype).removeprefix("torch.")

    @property
    def device(self) -> torch.device:
        """The device that it runs on as long as it fits there."""
        return self._network.device

    @property
    def annotator(self) -> Annotator:
        """The network with its family's pre- and postprocessing, for exporters; on its device since the last estimate."""
        return self._network.annotator

    @property
    def network(self) -> nn.Module:
        """The network itself; on its device since the last estimate."""
        return self.annotator.network

    @property
    def engine(self) -> Engine | None:
        """The engine that runs the network in place of torch; None = torch."""
        return self.annotator.engine

    @property
    def runtime(self) -> str:
        """The runtime of the network, with its version and device: "torch", "ONNX Runtime 1.31.1, CPU", ..."""
        return getattr(self.engine, "words", TORCH)

    @property
    def resampling(self) -> str:
        """The way in which the family's depth is brought to another size; as `Estimate.resized` takes it."""
        return self.annotator.resampling

    @property
    def is_video_model(self) -> bool:
        """True if the network processes several frames of a video in one window; other models take frame by frame."""
        return isinstance(self.annotator, VideoDepthAnythingAnnotator)

    def network_size(self, height: int, width: int, size: int | None = None) -> tuple[int, int]:
        """Height and width of the network's input for images of height x width; `size` as in `estimate`."""
        return self.annotator.checked_network_size(height, width, size)

    def reduced_size(self, height: int, width: int, size: int | None = None) -> tuple[int, int] | None:
        """The size to which images may be averaged before; see `Family.reduced_size`. `size` as in `estimate`."""
        return self.annotator.reduced_size(height, width, size or self.spec.default_size)

    def working_bytes(self, height: int, width: int, size: int | None = None) -> int:
        """About how much memory one image of height x width takes while it is estimated; `size` as in `estimate`."""
        return working_bytes(self.annotator, (height, width), self.network_size(height, width, size))

    def batch_limit(self, height: int, width: int) -> int | None:
        """The largest batch of images of height x width, since the memory could not hold a larger one; None while it could."""
        limits = self._network.current.batch_limits
        return min((count for sizes, count in limits.items() if sizes[:2] == (height, width)), default=None)

    def __reduce__(self) -> NoReturn:
        """Refuses to be pickled or copied."""
        raise TypeError(
            "a Model is not pickled: it holds memory of a device. Send its arguments, and call depth_normal.load_model with them in the "
            "other process"
        )

    def unload(self) -> None:
        """Takes the model off its device. It can still be used: the next run brings it back."""
        self._network.unload()


def _home(images: Tensor | np.ndarray) -> torch.device:
    """Where results of images belong."""
    return images.device if isinstance(images, Tensor) else torch.device("cpu")


def _checked(images: Images) -> Tensor | np.ndarray:
    """As `utils.check_images`, of a file or an image of PIL too."""
    if isinstance(images, str | os.PathLike):
        return check_images(read_image(images))
    if "PIL.Image" not in sys.modules or isinstance(images, Tensor | np.ndarray):
        return check_images(images)  # pyright: ignore[reportArgumentType]  which says what it accepts
    from PIL.Image import Image
    from PIL.ImageOps import exif_transpose

    if not isinstance(images, Image):
        return check_images(images)
    upright = exif_transpose(images)
    if not upright.mode.startswith(("I", "F")):  # of numbers the array says what is accepted; Pillow would clip them to 0..255
        upright = upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    return check_images(np.array(upright))
