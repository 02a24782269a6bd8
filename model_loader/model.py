"""A loaded model: placed on its device, run on batches of any size, part by part as memory allows."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..annotators.base import Annotator, is_out_of_memory
from ..annotators.choices import TORCH
from ..annotators.family import Progress
from ..annotators.film import FilmAnnotator, FilmState, IsCut
from ..annotators.registry import models_of_scenes
from ..annotators.resizing import Resizing
from ..annotators.tiles import check_tiles
from ..annotators.wording import wording
from ..geometry.estimate import Estimate
from ..utils import check_pictures, pictures_to_rgb
from . import host
from .chunks import Beginning, film_in_chunks, without_frames
from .large import estimates_in_tiles
from .parts import scaled
from .refined import refined_parts
from .room import check_network_room
from .shared_weights import NetworkVariant, RunnableNetwork, SharedWeights, with_own_network

logger = logging.getLogger(__name__)

# How many pictures' working memory is asked for before a run: more would push other models out for little.
ROOM_FOR = 4

# What a pixel of the picture itself takes on the device: RGB in float32, twice while it is resized, and all maps, which resampling doubles.
BYTES_PER_PICTURE_PIXEL = 64

_Run = Callable[[Annotator, Tensor, Progress | None], Estimate]


class Model:
    """A model ready to run.

    Attributes:
        spec: Its entry in the table of models.
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
        self._shared = SharedWeights(annotator, dtype, device, rebuild)
        self._variant = NetworkVariant(self._shared)

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

        def run(annotator: Annotator, pictures: Tensor, passes: Progress | None) -> Estimate:
            return annotator.estimate(pictures, size, fov=fov, options=options, progress=passes)

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

        def run(annotator: Annotator, pictures: Tensor, _: Progress | None) -> Estimate:
            return annotator.estimate_scene(pictures, size, fov=fov)

        (seen,) = self._parts(batch, size, progress, run, undivided=True)
        derived = seen if derive is None else derive(seen)
        return derived.resized(height, width, self.resampling).to(images.device if isinstance(images, Tensor) else "cpu")

    def _parts(
        self, batch: Tensor | np.ndarray, size: int | None, progress: Progress | None, run: _Run, *, undivided: bool = False
    ) -> Iterator[Estimate]:
        """What `run` gives of a batch that was checked, as much of it at a time as the memory holds; or all of it, if `undivided`."""
        total, height, width = _sides(batch)
        network = self._variant.now()
        net_height, net_width = network.annotator.checked_network_size(height, width, size)
        check_network_room(network.annotator, self.device, (height, width), size, network.loaded.dtype != torch.float32)
        bytes_each = self._bytes_each(height, width, net_height, net_width)
        sides = (height, width, net_height, net_width)
        room = bytes_each * (total if undivided else min(total, ROOM_FOR))
        device, fitted = network.placement.ready(room), network.loaded.fitted
        at_once = total if undivided else max(1, min(total, host.available_memory(device) // bytes_each, fitted.get(sides, total)))
        done = 0
        host.say(f"running {self.spec.id}")
        while done < total:
            host.throw_if_interrupted()
            if (now := self._variant.now()) is not network:
                network, device = now, now.placement.ready(room)
            pictures = batch[done : done + at_once]
            part = self._attempt(network, pictures, device, run, scaled(progress, done, len(pictures), total))
            if isinstance(part, Estimate):
                yield part
                done += part.batch
                if progress is not None:
                    progress(done, total)
            elif is_out_of_memory(part):
                host.empty_cache()
                if at_once == 1 or undivided:
                    raise MemoryError(self._too_large(at_once, f"{net_width}x{net_height}", device)) from part
                network.loaded.fitted[sides] = at_once = at_once // 2
                logger.warning("out of memory on %s: going on with %d pictures at once", device, at_once)
            else:
                self._shared.fall_back(network.loaded, part)

    def _too_large(self, at_once: int, size: str, device: torch.device) -> str:
        if at_once == 1:
            return (
                f"{self.spec.id} at {size} does not fit in the memory of {device}: "
                f"{wording().lower_size}{wording().where_size}, or free other models"
            )
        return (
            f"{at_once} views of one scene, which {self.spec.id} sees at once, do not fit in the memory of {device} at "
            f"{size} each: give fewer views, {wording().lower_size}, or free other models"
        )

    def _bytes_each(self, height: int, width: int, net_height: int, net_width: int) -> int:
        """Working memory of one picture on the device."""
        return net_height * net_width * self._annotator.bytes_per_pixel + height * width * BYTES_PER_PICTURE_PIXEL

    @property
    def is_film_model(self) -> bool:
        """Whether the model sees several frames of a film at once; `film` is for such models alone."""
        return isinstance(self._annotator, FilmAnnotator)

    def film(
        self,
        frames: Iterable[Tensor],
        size: int | None = None,
        *,
        fov: float = 0.0,
        is_cut: IsCut | None = None,
        state: FilmState | None = None,
    ) -> Iterator[Estimate]:
        """The estimates of a film by a model that sees several frames at once, at the network's size, on its device.

        What it holds does not grow with the film. `film.estimate_film` takes any model, and gives estimates of the frames' size.

        Args:
            frames: The film in chunks (B, 3, H, W) with values in [0, 1], all of one size; each is asked for when it is needed.
            size: As in `estimate`.
            fov: As in `estimate`.
            is_cut: Where shots begin; nothing is brought from one to the next. None = the film is one shot.
            state: Where the film goes on, and what is to be kept of it; as `FilmAnnotator.film`.

        Yields:
            Estimates of one or more frames, in order, as soon as no later frame changes them.

        Raises:
            TypeError: The model sees one picture at a time.
            ValueError: A chunk that `utils.as_batch` refuses, or a size beyond what a network can be run at.
            MemoryError: Not even one window of frames fits.
            ArithmeticError: The network gave NaN or infinity, in half precision not before other estimates were given out.
        """
        state = state or FilmState()
        beginning = Beginning(frames, is_over=bool(state.before))
        if self._annotator.engine is not None:
            logger.warning("%s: its films are run by torch, its pictures by %s", self.spec.id, self.runtime)
        while True:
            network = self._variant.now()
            annotator = network.annotator
            if not isinstance(annotator, FilmAnnotator):
                raise TypeError(f"{self.spec.id} sees one picture at a time; `film.estimate_film` takes any model")
            ready = functools.partial(self._ready_for_film, network)
            try:
                for part in film_in_chunks(annotator, iter(beginning), ready, state, size=size, fov=fov, is_cut=is_cut):
                    beginning.forget()
                    yield part
                return
            except ArithmeticError as error:
                if beginning.is_over or not self._shared.can_fall_back(network.loaded):
                    raise
                problem = without_frames(error)
            self._shared.fall_back(network.loaded, problem)

    def _ready_for_film(self, network: RunnableNetwork, height: int, width: int, size: int | None) -> tuple[torch.device, int]:
        """The device, with the network on it, and how many frames there is room for in one call beside a window of the film."""
        annotator = network.annotator
        assert isinstance(annotator, FilmAnnotator)
        net_height, net_width = annotator.checked_network_size(height, width, size)
        check_network_room(annotator, self.device, (height, width), size, network.loaded.dtype != torch.float32)
        bytes_each = self._bytes_each(height, width, net_height, net_width)
        film_bytes = annotator.film_bytes(net_height, net_width)
        host.say(f"running {self.spec.id}")
        device = network.placement.ready(film_bytes + bytes_each * ROOM_FOR)
        return device, (host.available_memory(device) - film_bytes) // bytes_each

    def _attempt(
        self, network: RunnableNetwork, pictures: Tensor | np.ndarray, device: torch.device, run: _Run, progress: Progress | None
    ) -> Estimate | Exception:
        """An estimate; or what can be helped, want of memory or of range, as an exception that keeps no tensor alive."""
        try:
            with torch.no_grad():
                # From pinned memory a tensor travels while the program goes on.
                stored = pictures.to(device, torch.float32, non_blocking=True) if isinstance(pictures, Tensor) else pictures
                rgb = pictures_to_rgb(stored).to(device)
                return run(network.annotator, rgb, progress)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return without_frames(error)
        except ArithmeticError as error:
            if not self._shared.can_fall_back(network.loaded):
                raise
            return without_frames(error)

    def with_resizing(self, resizing: Resizing) -> Model:
        """The same model, fed with pictures that are resized in another way than its authors'; see `Annotator.with_resizing`."""
        return self._with(lambda annotator: annotator.with_resizing(resizing))

    def for_another_thread(self) -> Model:
        """The same model with the same weights, for a thread that runs beside this one's."""
        annotator = self._annotator
        return self if annotator.shareable or annotator.engine is not None else self._with(with_own_network)

    def _with(self, variation: Callable[[Annotator], Annotator]) -> Model:
        other = copy.copy(self)
        other._variant = self._variant.varied(variation)
        return other

    @property
    def _annotator(self) -> Annotator:
        return self._variant.now().annotator

    @property
    def _placement(self) -> host.Placement:
        return self._variant.now().placement

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in; estimates are float32 all the same. A half precision that turned out too small is now float32."""
        return self._shared.loaded.dtype

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
        return self._shared.device

    @property
    def resampling(self) -> str:
        """How the family's depth is brought to another size; what `Estimate.resized` takes."""
        return self._annotator.resampling

    def fitting(self, height: int, width: int) -> int | None:
        """How many pictures of a size run at once since the memory could not hold more of them; None while it could."""
        return min((count for sides, count in self._shared.loaded.fitted.items() if sides[:2] == (height, width)), default=None)

    def working_bytes(self, height: int, width: int, size: int | None = None) -> int:
        """About how much memory one picture of a size takes while it is estimated; `size` as in `estimate`."""
        return self._bytes_each(height, width, *self._annotator.checked_network_size(height, width, size))

    def unload(self) -> None:
        """Takes the model off its device. It can still be used: the next run brings it back."""
        network = self._variant.now()
        network.loaded.fitted.clear()
        network.placement.unload()


def _sides(images: Tensor | np.ndarray) -> tuple[int, int, int]:
    """Pictures, height and width of a batch, or of one array: tensors are planar, arrays end with their channels unless they are grey."""
    total = images.shape[0] if images.ndim == 4 else 1
    height, width = images.shape[-2:] if isinstance(images, Tensor) or images.ndim == 2 else images.shape[-3:-1]
    return total, height, width
