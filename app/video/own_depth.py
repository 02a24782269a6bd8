"""The user's own depth of a video: a depth video, numbered files, a folder of them, or an archive of arrays; what its levels mean."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple

from ...geometry.checks import check_alike
from ...geometry.estimate import Estimate, Quantity
from ...geometry.files.image_files import is_still_image
from ...geometry.files.values import FileValues, grey_as_one, read_clip, read_values
from ...geometry.images.depth_image import DepthCoding, depth_map_to_estimate
from ...media import Frame, VideoHeader, VideoReadError, count_frames, read_frames, video_header
from ...media.sequences import MAPS, find_images, frame_numbers, frame_places, is_sequence
from ...options.map_images import NEAR
from ...options.outputs import UNITS
from ..batch.records import digest_of_marks

logger = logging.getLogger(__name__)
_ONE_MAP = {".exr", ".pfm"}  # FFmpeg reads .exr as a video of one frame
# Relative tolerances for frame rates, and for frame counts derived from durations.
_SAME_RATE, _ROUNDED = 0.01, 0.01

IF_SENSOR = "add --quantity millimetres (or kitti)"
"""Advice as of `DepthCoding`."""


@dataclass(frozen=True)
class DepthKind:
    """The options --quantity, --channel and --depth-near.

    Attributes:
        quantity: A quantity's value or one of `UNITS`, if the file does not state it; None = grey levels of disparity.
        channel: As `read_values`.
        near: The near end of grey levels, of `NEAR`.
    """

    quantity: str | None = None
    channel: str | None = None
    near: str = NEAR[0]

    def as_record(self) -> list[str | None]:
        """The options, JSON-serialisable."""
        return [self.quantity, self.channel, self.near]

    def estimate(
        self, values: FileValues, name: str, if_normals: str = "a normal map is named behind --normal-map", if_sensor: str = IF_SENSOR
    ) -> Estimate:
        """The estimate of a --depth file: of the kind that it or --quantity states, else grey levels of disparity.

        `if_normals` and `if_sensor` are as of `DepthCoding`. Raises as `depth_map_to_estimate`.
        """
        if self.quantity in UNITS:
            values = values.in_unit(self.quantity, name)
        quantity = values.quantity or (Quantity(self.quantity) if self.quantity else values.likely)
        if values.coded and quantity is Quantity.RELATIVE_DEPTH:
            meaning = DepthCoding(NEAR[1], "depth", name=name)
        else:
            meaning = DepthCoding(
                self.near,
                quantity=quantity,
                name=name,
                if_normals=if_normals,
                if_metres="add --quantity metric-depth",
                if_levels="leave out --quantity metric-depth (white = near), name relative-depth (white = far), millimetres or kitti "
                "(of 16 bits), or save metres as floats",
                if_sensor=if_sensor,
                may_be_levels=values.coded,
            )
        return values.squared(depth_map_to_estimate(values.planes, meaning, values.known))


@dataclass(frozen=True)
class OwnDepth:
    """The user's own depth of a video. Numbered frames and files are matched by number, others by order.

    `path`: a depth video, numbered files, a folder of such files only, or an NPZ or NPY of all frames. `strict` as `read_frames`.
    """

    path: Path
    kind: DepthKind
    strict: bool = False

    def files(self) -> list[Path]:
        """The input files; raises VideoReadError if there is none."""
        return find_images(self.path, MAPS) if is_sequence(self.path) else [self.path]

    def settings(self) -> dict[str, Any]:
        """The identity of the depth, JSON-serialisable."""
        return {
            "depth": str(self.path.resolve()),
            "depth_files": digest_of_marks([path.resolve() for path in self.files()]),
            "depth_kind": self.kind.as_record(),
        }

    def check(self, header: VideoHeader, video: Path, needed: int | None) -> None:
        """Compares the numbers of frames of depth and video, and logs a mismatch.

        Args:
            video: Its path; frames are counted if the header gives no exact number.
            needed: The number of frames needed, from the video's first; None = unknown.

        Raises:
            ValueError: Number and rate of frames differ, so that the n-th depth belongs to another moment than the n-th frame.
            VideoReadError, OSError, ImportError: It cannot be read.
        """
        if self.path.is_file() and (self.path.suffix.lower() in _ONE_MAP or is_still_image(self.path)):
            raise ValueError(f"{self.path} is one image; name a depth video, numbered files (depth_%05d.png) or a folder of them")
        of_depth, (own, exact) = None, (len(self.files() if self._arrays is None else self._arrays), True)
        if not is_sequence(self.path) and self._arrays is None:
            of_depth = video_header(self.path)
            own, exact = _count(of_depth)
        frames, is_exact = _count(header)
        if own is None or frames is None or abs(own - frames) <= (0 if exact and is_exact else _ROUNDED * frames + 1):
            return
        if of_depth is not None and not exact:
            of_depth, own = _counted(self.path, of_depth)
        if not is_exact:
            header, frames = _counted(video, header)
        if own == frames:
            return
        counts = f"{self.path} has {own} frame{'s' * (own != 1)}, and {header.name} {frames}"
        if of_depth is not None and abs(of_depth.rate - header.rate) > _SAME_RATE * header.rate:
            raise ValueError(
                f"{counts}, at {float(of_depth.rate):g} and {float(header.rate):g} frames a second; each frame needs its own depth: bring "
                "one of the two to the frames of the other first"
            )
        if needed is None or own < needed:
            more = "and the result ends at the first frame without depth" if own < frames else "and what is beyond is not used"
            logger.warning("%s; the first belongs to the first, %s", counts, more)

    def beside(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """Attaches depth to a video's frames, from its first. Raises VideoReadError at one without depth."""
        with closing(self._maps()) as maps:
            depth_map = next(maps, None)
            for count, frame in enumerate(frames):
                while depth_map is not None and depth_map.behind(count, frame.number) < 0:
                    depth_map = next(maps, None)
                if depth_map is None or depth_map.behind(count, frame.number):
                    which = f"frame {count + 1}" if frame.number is None else f"the frame of number {frame.number}"
                    raise VideoReadError(f"{self.path}: there is no depth for {which} of the video")
                yield replace(frame, known=partial(self._estimate, depth_map))

    def _maps(self) -> Generator[_Map, None, None]:
        if self._arrays is not None:
            for count, values in enumerate(self._arrays):
                yield _Map(count, None, f"map {count + 1} of {self.path}", lambda values=values: values)
            return
        if not is_sequence(self.path):
            bits = video_header(self.path).bits
            for count, frame in enumerate(read_frames(self.path, strict=self.strict)):
                name = f"frame {count + 1} of {self.path}"
                yield _Map(count, None, name, lambda frame=frame: FileValues(grey_as_one(frame.image().numpy()), bits=bits))
            return
        files, numbers = self.files(), frame_numbers(self.path, MAPS)
        places = frame_places(len(files), numbers)
        for path, number, place in zip(files, numbers or [None] * len(files), places, strict=True):
            yield _Map(place, number, str(path), partial(read_values, path, channel=self.kind.channel))

    @cached_property
    def _arrays(self) -> list[FileValues] | None:
        """All maps, if they are in one file of arrays."""
        return None if is_sequence(self.path) else read_clip(self.path, self.kind.channel)

    @cached_property
    def _advice(self) -> Iterator[str]:
        """`IF_SENSOR` for the first map alone."""
        return iter((IF_SENSOR,))

    def _estimate(self, found: _Map, height: int, width: int) -> Estimate:
        """A frame's depth, at the map's own size; `height` and `width` are the frame's."""
        try:
            estimate = self.kind.estimate(found.read(), found.name, "a normal map has no depth", next(self._advice, ""))
            check_alike(found.name, (estimate.height, estimate.width), (height, width))
        except (ValueError, OSError) as error:
            raise VideoReadError(str(error)) from error
        return estimate


class _Map(NamedTuple):
    """A depth map: index of its frame, number of its file, name in messages, and reader."""

    place: int
    number: int | None
    name: str
    read: Callable[[], FileValues]

    def behind(self, count: int, number: int | None) -> int:
        """The offset in frames from a frame with this index and number; negative if the map belongs to an earlier frame."""
        return self.place - count if number is None or self.number is None else self.number - number


def _count(header: VideoHeader) -> tuple[int | None, bool]:
    """The number of frames in a video's header, if any, and whether it is exact."""
    if header.frames is not None or header.seconds is None:
        return header.frames, True
    return round(header.seconds * header.rate), False


def _counted(path: Path, header: VideoHeader) -> tuple[VideoHeader, int]:
    """The header with the counted frames and their average rate, which Matroska lacks for variable rates; and the count."""
    frames = count_frames(path)
    return replace(header, frames=frames, rate=frames / header.seconds if header.seconds else header.rate), frames
