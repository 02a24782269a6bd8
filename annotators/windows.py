"""A film in windows: a network that sees 32 frames at once sees a film of any length, and its windows become one.

Each window begins with frames that were seen before: the shot's first, one of the window before, and its last eight. By the first two its
depth is brought to what is known already; the eight fade from the one to the other.

Source:
    Chen et al., "Video Depth Anything: Consistent Depth Estimation for Super-Long Videos" (2025), section 3.3; code
    DepthAnything/Video-Depth-Anything (`infer_video_depth`). Theirs holds the film, and encodes the frames seen before again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.align import fit_scale_shift
from .film import InChunks
from .networks.motion import MAX_FRAMES
from .networks.video_depth_anything import VideoDepthAnything

FADE = 8
"""Frames over which a window becomes the next."""
_REFERENCES = 2
_SEEN = _REFERENCES + FADE
_SECOND_REFERENCE = 12
"""Place, in the window before, of the frame that is a window's second; the first is the shot's first."""
_CERTAIN = MAX_FRAMES - FADE
"""Frames of a window that the next one does not change."""


class Shot:
    """The windows of one shot: frames go in, depth comes out as soon as no later frame changes it.

    It holds the features of one window, whatever the length of the shot.

    Args:
        network: The network.
        prepare: Makes the network's input of frames.
        in_chunks: Divides frames among calls of the network.
        aligned: Whether each window is brought to the scale and shift of those before.
    """

    def __init__(self, network: VideoDepthAnything, prepare: Callable[[Tensor], Tensor], in_chunks: InChunks, *, aligned: bool) -> None:
        self._network = network
        self._prepare = prepare
        self._in_chunks = in_chunks
        self._joined = JoinedWindows(aligned)
        self._features: list[Tensor] | None = None
        self._known = 0
        """Frames of the window whose features are there."""

    def push(self, frames: Tensor) -> Iterator[Tensor]:
        """Takes the next frames.

        Args:
            frames: (B, 3, H, W), as `prepare` takes them.

        Yields:
            Depth (b, 1, h, w) float32 at the network's size, not negative, of frames in order.
        """
        while len(frames):
            new, frames = frames[: MAX_FRAMES - self._known], frames[MAX_FRAMES - self._known :]
            self._in_chunks(lambda start, stop, new=new: self._encode(new[start:stop], self._known + start), len(new))
            self._known += len(new)
            if self._known == MAX_FRAMES:
                yield self._window()
                self._next_window()

    def finish(self) -> Iterator[Tensor]:
        """The depth of the frames that are left, as `push`: the windows are filled with the last frame again."""
        known = self._known
        yield self._window()
        if known > _CERTAIN:
            self._next_window()
            yield self._window()

    def _encode(self, frames: Tensor, place: int) -> None:
        found = self._network.encode(self._prepare(frames))
        if self._features is None:
            self._features = [_room_for(each) for each in found]
        for kept, each in zip(self._features, found, strict=True):
            kept[place : place + len(each)] = each

    def _next_window(self) -> None:
        """Brings the features of the frames that the next window sees again to its beginning."""
        assert self._features is not None
        for each in self._features:
            each[1] = each[_SECOND_REFERENCE]
            each[_REFERENCES:_SEEN] = each[_CERTAIN:]
        self._known = _SEEN

    def _window(self) -> Tensor:
        """The depth that a window adds to what is finished."""
        features, known = self._features, self._known
        assert features is not None and known
        for each in features:
            each[known:] = each[known - 1]
        path: list[Tensor] = []
        self._in_chunks(lambda *_: path.append(self._network.through_time(features, MAX_FRAMES)), 1)
        parts: dict[int, Tensor] = {}

        def finish(start: int, stop: int) -> None:
            fine = [each[start:stop] for each in features[:2]]
            parts[start] = F.relu(self._network.finish(path[0][start:stop], fine)).contiguous()

        self._in_chunks(finish, known)
        return self._joined.push(torch.cat(list(parts.values())))


def _room_for(features: Tensor) -> Tensor:
    """Room for a window of features like these."""
    shape = (MAX_FRAMES, *features.shape[1:])
    return torch.empty(shape, dtype=features.dtype, device=features.device, memory_format=torch.channels_last)


class JoinedWindows:
    """Makes the depth of a shot's windows one.

    Args:
        aligned: Whether each window is brought to the scale and shift of those before, by the frames that both have seen.
    """

    def __init__(self, aligned: bool) -> None:
        self._aligned = aligned
        self._reference: Tensor | None = None
        self._fading: Tensor | None = None

    def push(self, depth: Tensor) -> Tensor:
        """Takes the next window.

        Args:
            depth: (B, 1, h, w) of its frames, without those that only fill it. All windows but the last have `MAX_FRAMES`; a last one is
                needed where the window before has more than `MAX_FRAMES - FADE`.

        Returns:
            The depth that no later window changes: after what was returned before, in order.
        """
        if self._reference is None or self._fading is None:
            first, begin = depth[:1], depth[:_SEEN]
        else:
            first = self._reference[:1]
            if self._aligned:
                depth = _brought(depth, self._reference)
            # from wholly the one to wholly the other
            weights = torch.linspace(0, 1, FADE, device=depth.device)[: len(self._fading), None, None, None]
            begin = torch.lerp(self._fading, depth[_REFERENCES : _REFERENCES + len(self._fading)], weights)
        self._reference = torch.cat((first, depth[_SECOND_REFERENCE : _SECOND_REFERENCE + 1]))
        self._fading = depth[_CERTAIN:]
        return torch.cat((begin, depth[_SEEN:_CERTAIN]))


def _brought(depth: Tensor, reference: Tensor) -> Tensor:
    """A window's depth (B, 1, h, w) at the scale and shift at which its first frames are nearest to the reference; not below 0."""
    scale, shift = fit_scale_shift(depth[:_REFERENCES].flatten()[None], reference.flatten()[None])
    return (depth * scale.to(depth.dtype) + shift.to(depth.dtype)).clamp(min=0)
