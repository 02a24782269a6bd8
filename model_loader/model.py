"""A loaded model: placed on its device, run on batches of any size, part by part as memory allows."""

from __future__ import annotations

import copy
import itertools
import logging
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..annotators.base import Annotator, Progress, is_out_of_memory
from ..annotators.choices import TORCH
from ..annotators.film import FilmAnnotator, IsCut
from ..annotators.registry import models_of_scenes
from ..annotators.resizing import Resizing
from ..annotators.tiles import check_tiles
from ..geometry.estimate import Estimate
from ..utils import check_pictures, pictures_to_rgb
from . import host
from .chunks import Beginning, Chunks, without_frames
from .large import estimates_in_tiles
from .parts import scaled
from .refined import refined_parts
from .room import check_network_room

logger = logging.getLogger(__name__)

# How many pictures' working memory is asked for before a run: more would push other models out for little.
ROOM_FOR = 4

# What a pixel of the picture itself takes on the device: RGB in float32, twice while it is resized, and all maps, which resampling doubles.
BYTES_PER_PICTURE_PIXEL = 64

_Run = Callable[[Tensor, Progress | None], Estimate]


class Model:
    """A model ready to run.

    Attributes:
        spec: Its entry in the table of models.
        dtype: What the network computes in; estimates are float32 all the same. A half precision that turned out too small for this
            model's numbers has become float32.
        weights: The file the network came from.
    """

    def __init__(
        self,
        annotator: Annotator,
        dtype: torch.dtype,
        device: torch.device,
        weights: Path,
        rebuild: Callable[[torch.dtype], Annotator] | None = None,
    ) -> None:
        self.spec = annotator.spec
        self.weights = weights
        self._device = device
        self._rebuild = rebuild
        self._lock = threading.Lock()
        self._origin: tuple[Model, Resizing] | None = None
        self._use(annotator, dtype)

    def _use(self, annotator: Annotator, dtype: torch.dtype) -> None:
        self._annotator, self.dtype = annotator, dtype
        engine = annotator.engine
        if engine is None:
            host.make_interruptible(annotator.network)  # before it is traced or compiled it must not be
        self._placement = host.Placement(getattr(engine, "placed", annotator.network), self._device)
        self._fitted: dict[tuple[int, ...], int] = {}

    def estimate(
        self,
        images: Tensor | np.ndarray,
        size: int | None = None,
        progress: Progress | None = None,
        *,
        fov: float = 0.0,
        options: Any = None,
        derive: Callable[[Estimate], Estimate] | None = None,
        tiles: int | str | None = None,
        refine: bool = False,
    ) -> Estimate:
        """Depth and/or normals of pictures, at the pictures' own size.

        Args:
            images: (B, 3, H, W) tensor with values in [0, 1], or array (H, W, C) or (B, H, W, C) of uint8, uint16 or floats in [0, 1].
            size: Side in pixels of the frame that the network's input is fitted to (the entry's `resizing`); None = the model's default.
            progress: Called with (work done, work in all), in pictures or in a family's passes over them.
            fov: Degrees that the longer side of the pictures spans, between 0 and 180 exclusive; 0 = not known. It becomes the estimate's
                camera, and metres that depend on the camera (Depth Anything 3, Metric3D, MoGe) follow it.
            options: The family's own (`annotators.marigold.MarigoldOptions`, ...); None = its defaults.
            derive: Adds to an estimate what follows from it, such as normals. They are computed before the depth is enlarged; otherwise
                the network's pixel grid would show in them.
            tiles: For large pictures: how many overlapping tiles along the longer side are seen beside the whole, or "auto"; None or 0 =
                the whole alone. See `annotators.tiles`.
            refine: Whether depth edges and normals are brought to the pictures' edges, by `refine_geometry`.

        Returns:
            An estimate of B pictures, H x W, float32, on the CPU or where the images were.

        Raises:
            ValueError: Pictures that `utils.as_batch` refuses, a size beyond what a network can be run at, no field of view, or no number
                of tiles.
            MemoryError: Not even one picture at a time fits.
            ArithmeticError: The network gave NaN or infinity.
        """
        if tiles := check_tiles(tiles):
            parts = estimates_in_tiles(self, check_pictures(images), size, progress, fov=fov, options=options, tiles=tiles)
        else:
            parts = self.estimates(images, size, progress, fov=fov, options=options)
        total, height, width = _sides(images)
        home = images.device if isinstance(images, Tensor) else torch.device("cpu")
        if refine:
            return Estimate.cat(refined_parts(parts, images, derive, self.resampling), total, home)
        derived = parts if derive is None else map(derive, parts)
        return Estimate.cat((part.resized(height, width, self.resampling) for part in derived), total, home)

    def estimates(
        self,
        images: Tensor | np.ndarray,
        size: int | None = None,
        progress: Progress | None = None,
        *,
        fov: float = 0.0,
        options: Any = None,
    ) -> Iterator[Estimate]:
        """The estimates at the network's size, on its device, in parts: as many pictures at once as the memory holds.

        Args:
            images: As in `estimate`; each part is brought to float32 and to the device by itself.
            size: As in `estimate`.
            progress: As in `estimate`.
            fov: As in `estimate`.
            options: As in `estimate`.

        Returns:
            Estimates of one or more pictures, in order, each computed when it is asked for.

        Raises:
            As `estimate`; pictures are looked at before this returns, the others come with the parts.
        """

        def run(pictures: Tensor, passes: Progress | None) -> Estimate:
            return self._annotator.estimate(pictures, size, fov=fov, options=options, progress=passes)

        return self._parts(check_pictures(images), size, progress, run)

    def estimate_scene(
        self,
        images: Tensor | np.ndarray,
        size: int | None = None,
        progress: Progress | None = None,
        *,
        fov: float = 0.0,
        derive: Callable[[Estimate], Estimate] | None = None,
    ) -> Estimate:
        """Depth and cameras of pictures that show one scene which stands still, seen all at once, at the pictures' own size.

        Args:
            images: As in `estimate`: the views, in any order.
            size: As in `estimate`.
            progress: As in `estimate`.
            fov: As in `estimate`, of the one camera that took all of them.
            derive: As in `estimate`.

        Returns:
            An estimate as `estimate` gives it, with the cameras' intrinsics and extrinsics. Depth has one scale for all views and is 0
            at each camera; where nothing tells metres, metric depth and extrinsics are up to that scale.

        Raises:
            ValueError: A model that sees each picture by itself; more views than can be seen at once; or as `estimate`.
            MemoryError: The views do not fit all at once.
            ArithmeticError: As `estimate`.
        """
        if not self._annotator.sees_scenes(self.spec):
            raise ValueError(
                f"{self.spec.id} sees each picture by itself; models that take a batch as views of one scene: "
                + ", ".join(models_of_scenes())
            )
        batch = check_pictures(images)
        total, height, width = _sides(batch)
        self._annotator.check_scene(total, height, width, size)

        def run(pictures: Tensor, _: Progress | None) -> Estimate:
            return self._annotator.estimate_scene(pictures, size, fov=fov)

        (seen,) = self._parts(batch, size, progress, run, undivided=True)
        derived = seen if derive is None else derive(seen)
        return derived.resized(height, width, self.resampling).to(images.device if isinstance(images, Tensor) else "cpu")

    def _parts(
        self, batch: Tensor | np.ndarray, size: int | None, progress: Progress | None, run: _Run, *, undivided: bool = False
    ) -> Iterator[Estimate]:
        """What `run` gives of a batch that was checked, as much of it at a time as the memory holds; or all of it, if `undivided`."""
        total, height, width = _sides(batch)
        net_height, net_width = self._annotator.checked_network_size(height, width, size)
        check_network_room(self._annotator, self._device, (height, width), size, self.dtype != torch.float32)
        bytes_each = self._bytes_each(height, width, net_height, net_width)
        sides = (height, width, net_height, net_width)
        room = bytes_each * (total if undivided else min(total, ROOM_FOR))
        device = self._placement.ready(room)
        at_once = total if undivided else max(1, min(total, host.available_memory(device) // bytes_each, self._fitted.get(sides, total)))
        done = 0
        host.say(f"running {self.spec.id}")
        while done < total:
            host.throw_if_interrupted()
            pictures = batch[done : done + at_once]
            part = self._attempt(pictures, device, run, scaled(progress, done, len(pictures), total))
            if isinstance(part, Estimate):
                yield part
                done += part.batch
                if progress is not None:
                    progress(done, total)
            elif is_out_of_memory(part):
                host.empty_cache()
                if at_once == 1:
                    raise MemoryError(
                        f"{self.spec.id} at {net_width}x{net_height} does not fit in the memory of {device}: "
                        "lower the resolution (network_size in nodes that have it), or free other models"
                    ) from part
                if undivided:
                    raise MemoryError(
                        f"{total} views of one scene, which {self.spec.id} sees at once, do not fit in the memory of {device} at "
                        f"{net_width}x{net_height} each: give fewer views, lower the resolution, or free other models"
                    ) from part
                self._fitted[sides] = at_once = at_once // 2
                logger.warning("out of memory on %s: going on with %d pictures at once", device, at_once)
            else:
                self._widen(part)
                device = self._placement.ready(room)

    def _bytes_each(self, height: int, width: int, net_height: int, net_width: int) -> int:
        """Working memory of one picture on the device."""
        return net_height * net_width * self._annotator.bytes_per_pixel + height * width * BYTES_PER_PICTURE_PIXEL

    @property
    def is_film_model(self) -> bool:
        """Whether the model sees several frames of a film at once; `film` is for such models alone."""
        return isinstance(self._annotator, FilmAnnotator)

    def film(
        self, frames: Iterable[Tensor], size: int | None = None, *, fov: float = 0.0, is_cut: IsCut | None = None
    ) -> Iterator[Estimate]:
        """The estimates of a film by a model that sees several frames at once, at the network's size, on its device.

        What it holds does not grow with the film. `film.estimate_film` takes any model, and gives estimates of the frames' size.

        Args:
            frames: The film in chunks (B, 3, H, W) with values in [0, 1], all of one size; each is asked for when it is needed.
            size: As in `estimate`.
            fov: As in `estimate`.
            is_cut: Where shots begin; nothing is brought from one to the next. None = the film is one shot.

        Yields:
            Estimates of one or more frames, in order, as soon as no later frame changes them.

        Raises:
            TypeError: The model sees one picture at a time.
            ValueError: A chunk that `utils.as_batch` refuses, or a size beyond what a network can be run at.
            MemoryError: Not even one window of frames fits.
            ArithmeticError: The network gave NaN or infinity, in half precision not before other estimates were given out.
        """
        beginning = Beginning(frames)
        if self._annotator.engine is not None:
            logger.warning("%s: its films are run by torch, its pictures by %s", self.spec.id, self.runtime)
        while True:
            try:
                for part in self._film_parts(iter(beginning), size, fov, is_cut):
                    beginning.forget()
                    yield part
                return
            except ArithmeticError as error:
                if beginning.is_over or self.dtype == torch.float32 or self._rebuild is None:
                    raise
                problem = without_frames(error)
            self._widen(problem)

    @torch.no_grad()
    def _film_parts(self, chunks: Iterator[Tensor], size: int | None, fov: float, is_cut: IsCut | None) -> Iterator[Estimate]:
        """The estimates of a film, in the dtype that the network has now."""
        annotator, first = self._annotator, next(chunks, None)
        if not isinstance(annotator, FilmAnnotator):
            raise TypeError(f"{self.spec.id} sees one picture at a time; `film.estimate_film` takes any model")
        if first is None:
            return
        height, width = first.shape[-2:]
        chunks = itertools.chain((first,), chunks)
        del first  # it may be the whole film
        net_height, net_width = annotator.checked_network_size(height, width, size)
        check_network_room(annotator, self._device, (height, width), size, self.dtype != torch.float32)
        bytes_each = self._bytes_each(height, width, net_height, net_width)
        film_bytes = annotator.film_bytes(net_height, net_width)
        host.say(f"running {self.spec.id}")
        device = self._placement.ready(film_bytes + bytes_each * ROOM_FOR)
        at_once = max(1, (host.available_memory(device) - film_bytes) // bytes_each)

        def pieces() -> Iterator[Tensor]:
            for chunk in chunks:
                check_pictures(chunk)
                for piece in chunk.split(at_once):
                    yield pictures_to_rgb(piece).to(device)

        in_chunks = Chunks(at_once, f"{self.spec.id} at {net_width}x{net_height} on {device}")
        yield from annotator.film(pieces(), size, fov=fov, is_cut=is_cut, in_chunks=in_chunks)

    def _attempt(self, pictures: Tensor | np.ndarray, device: torch.device, run: _Run, progress: Progress | None) -> Estimate | Exception:
        """An estimate; or what can be helped, want of memory or of range, as an exception that keeps no tensor alive."""
        try:
            with torch.no_grad():
                # From pinned memory a tensor travels while the program goes on.
                stored = pictures.to(device, torch.float32, non_blocking=True) if isinstance(pictures, Tensor) else pictures
                rgb = pictures_to_rgb(stored).to(device)
                return run(rgb, progress)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return without_frames(error)
        except ArithmeticError as error:
            if self.dtype == torch.float32 or self._rebuild is None:
                raise
            return without_frames(error)

    def _widen(self, reason: Exception) -> None:
        """Loads the network in float32 in place of the half precision in which it failed, for good."""
        if self._origin is not None:
            origin, resizing = self._origin
            origin._widen(reason)
            self._placement, self.dtype, self._fitted = origin._placement, origin.dtype, origin._fitted
            self._annotator = origin._annotator.with_resizing(resizing)
            return
        with self._lock:
            if self._rebuild is None or self.dtype == torch.float32:  # another thread was first
                return
            logger.warning("%s. Computed again in float32, as is all that follows", reason)
            self._placement.unload()
            self._use(self._rebuild(torch.float32), torch.float32)

    def with_resizing(self, resizing: Resizing) -> Model:
        """The same model, fed with pictures that are resized in another way than its authors'; see `Annotator.with_resizing`."""
        other = copy.copy(self)
        other._annotator = self._annotator.with_resizing(resizing)
        other._origin = (self, resizing)
        return other

    def for_another_thread(self) -> Model:
        """The same model, for a thread that runs beside this one's: the same weights, and notes of its own about what it looks at."""
        if self._annotator.shareable or self._annotator.engine is not None:
            return self
        other, network = copy.copy(self), self._annotator.network
        shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
        other._annotator = copy.copy(self._annotator)
        other._annotator.network = copy.deepcopy(network, shared)
        other._placement = host.Placement(other._annotator.network, self._device)
        return other

    @property
    def annotator(self) -> Annotator:
        """The network with what its family does before and after it; on its device since the last estimate."""
        return self._annotator

    @property
    def runtime(self) -> str:
        """What runs the network, with its version and device: "torch", "ONNX Runtime 1.31.1, CPU", ..."""
        return getattr(self._annotator.engine, "words", TORCH)

    @property
    def device(self) -> torch.device:
        """Where it runs as long as there is room."""
        return self._device

    @property
    def resampling(self) -> str:
        """How the family's depth is brought to another size; what `Estimate.resized` takes."""
        return self._annotator.resampling

    def fitting(self, height: int, width: int) -> int | None:
        """How many pictures of a size run at once since the memory could not hold more of them; None while it could."""
        return min((count for sides, count in self._fitted.items() if sides[:2] == (height, width)), default=None)

    def working_bytes(self, height: int, width: int, size: int | None = None) -> int:
        """About how much memory one picture of a size takes while it is estimated; `size` as in `estimate`."""
        return self._bytes_each(height, width, *self._annotator.checked_network_size(height, width, size))

    def unload(self) -> None:
        """Takes the model off its device. It can still be used: the next run brings it back."""
        self._fitted.clear()
        self._placement.unload()


def _sides(images: Tensor | np.ndarray) -> tuple[int, int, int]:
    """Pictures, height and width of a batch, or of one array: tensors are planar, arrays end with their channels unless they are grey."""
    total = images.shape[0] if images.ndim == 4 else 1
    height, width = images.shape[-2:] if isinstance(images, Tensor) or images.ndim == 2 else images.shape[-3:-1]
    return total, height, width
