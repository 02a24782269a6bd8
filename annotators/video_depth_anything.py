"""Video Depth Anything: temporally stable depth of videos of any length, and depth of single images.

Each window begins with frames of earlier ones: the shot's first frame, one frame of the window before, and its last eight. The first two
determine the scale and shift to earlier windows; over the eight, one window fades into the next.

Source:
    Chen et al., "Video Depth Anything: Consistent Depth Estimation for Super-Long Videos" (2025), section 3.3; code
    DepthAnything/Video-Depth-Anything (`infer_video_depth`), which holds the whole video and re-encodes frames of earlier windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..geometry.alignment.scale_shift import fit_scale_shift
from ..geometry.estimate import Estimate, Quantity
from .clips import ClipAnnotator, InChunks, IsCut, WindowState
from .depth_anything import DinoAnnotator
from .graphs import Graph, GraphModule, Signature
from .networks.depth_anything import MAX_FRAMES, VALUES_AT_ONCE, VideoDepthAnything
from .preprocessing.resizing import WideFrame, cubic
from .preprocessing.steps import Resize, Steps


def shots(frames: Iterable[Tensor], is_cut: IsCut | None) -> Iterator[tuple[Tensor, bool]]:
    """Splits a video's chunks (B, 3, H, W) at its cuts (None = no cuts) into pieces, each with whether a new shot begins with it."""
    for chunk in frames:
        cuts: list[bool] = [False] * len(chunk) if is_cut is None else is_cut(chunk).tolist()
        starts = [index for index, cut in enumerate(cuts) if cut or not index]
        for start, stop in zip(starts, [*starts[1:], len(chunk)], strict=True):
            yield chunk[start:stop], cuts[start]


FADE = 8
"""Number of frames over which one window fades into the next."""
_REFERENCES = 2
_OVERLAP = _REFERENCES + FADE
_SECOND_REFERENCE = 12
"""Index, in the window before, of the frame that becomes a window's second reference; the first is the shot's first frame."""
_CERTAIN = MAX_FRAMES - FADE
"""Number of frames of a window that the next one does not change."""
ENCODED_AT_ONCE = 8
"""Number of frames encoded per call, if they fit. On a GPU the last bits of features depend on the batch size: groups are aligned to the
window, so that the result does not depend on the chunks that the frames come in."""


class Shot:
    """Processes one shot in windows: takes frames, returns depth as soon as it is final.

    Holds the features of one window, whatever the shot's length. `state_dict` can save it between two estimates. `prepare` makes the
    network's input of one frame; `aligned` is as in `JoinedWindows`.
    """

    def __init__(self, network: VideoDepthAnything, prepare: Callable[[Tensor], Tensor], in_chunks: InChunks, *, aligned: bool) -> None:
        self._network = network
        self._prepare = prepare
        self._in_chunks = in_chunks
        self._joined = JoinedWindows(aligned)
        self._waiting: list[Tensor] = []
        """Frames that are prepared but not yet encoded."""
        self._features: list[Tensor] | None = None
        self._known = 0
        """Number of frames of the window with features."""

    def push(self, frames: Tensor) -> Iterator[Tensor]:
        """Takes the next frames (B, 3, H, W); yields depth (b, 1, h, w) float32 at the network's size, non-negative, in order."""
        for frame in frames.split(1):
            self._waiting.append(self._prepare(frame))
            if len(self._waiting) == min(ENCODED_AT_ONCE, MAX_FRAMES - self._known):
                self._encode_waiting()
            if self._known == MAX_FRAMES:
                depth = self._window()
                self._next_window()
                yield depth

    def finish(self) -> Tensor:
        """The depth of the remaining frames, as from `push`; windows are padded with the last frame."""
        if self._waiting:
            self._encode_waiting()
        known = self._known
        depth = [self._window()]
        if known > _CERTAIN:
            self._next_window()
            depth.append(self._window())
        return torch.cat(depth)

    def state_dict(self) -> dict[str, Tensor]:
        """The state for the next window, copied to the CPU. Call it right after `push` yielded."""
        assert self._features is not None
        features = {f"features.{level}": each[: self._known] for level, each in enumerate(self._features)}
        return {name: each.to("cpu", copy=True) for name, each in {**features, **self._joined.state_dict()}.items()}

    def load_state_dict(self, state: Mapping[str, Tensor], device: torch.device) -> int:
        """Restores another instance's `state_dict`, or raises a ValueError if it is invalid.

        Returns:
            The number of frames without returned depth that are already encoded: they must not be pushed again.
        """
        frames = {**{f"features.{level}": _OVERLAP for level in range(4)}, "reference": _REFERENCES, "fading": FADE}
        shapes = {name: tuple(each.shape) for name, each in state.items() if isinstance(each, Tensor)}
        if shapes.keys() != frames.keys() or any(len(shape) != 4 or shape[0] != frames[name] for name, shape in shapes.items()):
            raise ValueError(f"what was kept of the frames before is damaged: expected maps of {frames} frames, found {shapes}")
        features = [state[f"features.{level}"].to(device) for level in range(4)]
        self._features = [_window_like(each) for each in features]
        for kept, each in zip(self._features, features, strict=True):
            kept[:_OVERLAP] = each
        self._known = _OVERLAP
        self._joined.load_state_dict(state, device)
        return FADE

    def _encode_waiting(self) -> None:
        frames, self._waiting = torch.cat(self._waiting), []
        self._in_chunks(lambda start, stop: self._encode(frames[start:stop], self._known + start), len(frames))
        self._known += len(frames)

    def _encode(self, frames: Tensor, place: int) -> None:
        features = self._network.encode(frames)
        if self._features is None:
            self._features = [_window_like(each) for each in features]
        for kept, each in zip(self._features, features, strict=True):
            kept[place : place + len(each)] = each

    def _next_window(self) -> None:
        """Moves the features of frames shared with the next window to its beginning."""
        assert self._features is not None
        for each in self._features:
            each[1] = each[_SECOND_REFERENCE]
            each[_REFERENCES:_OVERLAP] = each[_CERTAIN:]
        self._known = _OVERLAP

    def _window(self) -> Tensor:
        """The final depth that a window adds."""
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


def _window_like(features: Tensor) -> Tensor:
    shape = (MAX_FRAMES, *features.shape[1:])
    return torch.empty(shape, dtype=features.dtype, device=features.device, memory_format=torch.channels_last)


class JoinedWindows:
    """Joins the windows of a shot; if `aligned`, each is aligned in scale and shift with earlier ones, by their shared frames."""

    def __init__(self, aligned: bool) -> None:
        self._aligned = aligned
        self._reference: Tensor | None = None
        self._fading: Tensor | None = None

    def push(self, depth: Tensor) -> Tensor:
        """Takes the depth (B, 1, h, w) of the next window's frames, without padding; returns the next depth maps, in order, that are final.

        All windows but the last have `MAX_FRAMES`; a last one is needed if the window before has more than `MAX_FRAMES - FADE`.
        """
        if self._reference is None or self._fading is None:
            first, begin = depth[:1], depth[:_OVERLAP]
        else:
            first = self._reference[:1]
            if self._aligned:
                depth = _brought(depth, self._reference)
            # from entirely the old to entirely the new
            weights = torch.linspace(0, 1, FADE, dtype=depth.dtype, device=depth.device)[: len(self._fading), None, None, None]
            begin = torch.lerp(self._fading, depth[_REFERENCES : _REFERENCES + len(self._fading)], weights)
        self._reference = torch.cat((first, depth[_SECOND_REFERENCE : _SECOND_REFERENCE + 1]))
        self._fading = depth[_CERTAIN:]
        return torch.cat((begin, depth[_OVERLAP:_CERTAIN]))

    def state_dict(self) -> dict[str, Tensor]:
        """The state needed to join the next window."""
        assert self._reference is not None and self._fading is not None
        return {"reference": self._reference, "fading": self._fading}

    def load_state_dict(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Restores another instance's `state_dict`."""
        self._reference, self._fading = state["reference"].to(device), state["fading"].to(device)


def _brought(depth: Tensor, reference: Tensor) -> Tensor:
    """A window's depth (B, 1, h, w) with scale and shift fitted to the reference by its first frames; clamped to at least 0."""
    scale, shift = fit_scale_shift(depth[:_REFERENCES].flatten()[None], reference.flatten()[None])
    return (depth * scale.to(depth.dtype) + shift.to(depth.dtype)).clamp(min=0)


# Frames longer than this are reduced, as a batch holds 32 of them.
_LONG, _LONGEST_ASPECT = 1.78, 1.777
_PATCH_PIXELS = 14**2
# Measured number of simultaneous maps of the fusion path's second level, and of copies of the values attended to at once.
_PATHS, _ATTENDED = 6, 18


class _Clip(GraphModule):
    """The network on a batch that is the frames of one clip."""

    def forward(self, pixels: Tensor, scalar_inputs: Tensor | None = None) -> tuple[Tensor, ...]:
        return (F.relu(self.network(pixels.to(self._dtype), pixels.shape[0])),)


class VideoDepthAnythingAnnotator(DinoAnnotator, ClipAnnotator):
    """Video Depth Anything, relative and metric.

    Convention:
        Relative networks: disparity, large = near, non-negative, with an unknown scale and shift common to all frames of a shot. Metric
        networks: metres. Images of a batch are independent; for videos use `estimate_video`.
    """

    auto_dtypes = ()  # float16 changes depth images by 0.1 of 255 levels, but was not tested on videos with trained weights
    network_class = VideoDepthAnything
    at_once = ENCODED_AT_ONCE
    network: VideoDepthAnything  # pyright: ignore[reportIncompatibleVariableOverride]

    def preprocess(self, size: int) -> Steps:
        """See `Family.preprocess`. No side is below `size`, but frames longer than 16:9 get as many pixels as 16:9 ones."""
        return (Resize(WideFrame(size, _LONG, _LONGEST_ASPECT, self.spec.multiple_of), cubic),)

    def predict(self, inputs: Tensor, scalar_inputs: Sequence[Any] = ()) -> tuple[Tensor, ...]:
        """See `Family.predict`: for independent images."""
        return (F.relu(self.network(inputs)),)

    def signature(self) -> Signature:
        return Signature.of(self.spec, most_batch=MAX_FRAMES, batch_is_clip=True)

    def graph(self) -> Graph:
        """See `Annotator.graph`: takes up to `MAX_FRAMES` successive frames of one clip."""
        return replace(super().graph(), module=_Clip(self.network, self.predict, self.dtype))

    def estimate_video(
        self,
        frames: Iterable[Tensor],
        size: int | None,
        *,
        fov: float,
        is_cut: IsCut | None,
        in_chunks: InChunks,
        state: WindowState | None = None,
    ) -> Iterator[Estimate]:
        """See `ClipAnnotator.estimate_video`. A frame's estimate follows after at most 31 more frames, or after a cut."""
        height = width = 0

        def pieces() -> Iterator[tuple[Tensor, bool]]:
            nonlocal height, width
            for piece, begins in shots(frames, is_cut):
                height, width = piece.shape[-2:]
                yield piece, begins

        def prepared(frame: Tensor) -> Tensor:
            self.checked_network_size(frame.shape[-2], frame.shape[-1], size)
            return self.normalised(self.resize_images(frame, size or self.spec.default_size))

        for depth in self._depth(pieces(), prepared, in_chunks, state or WindowState()):
            yield self._finished(Estimate(depth=depth, quantity=self.spec.quantity), height, width, fov)

    def _depth(
        self, pieces: Iterable[tuple[Tensor, bool]], prepare: Callable[[Tensor], Tensor], in_chunks: InChunks, state: WindowState
    ) -> Iterator[Tensor]:
        """The depth of a video's pieces; windows do not cross shots."""

        def new_shot() -> Shot:
            return Shot(self.network, prepare, in_chunks, aligned=self.spec.quantity is Quantity.DISPARITY)

        shot: Shot | None = None
        before, processed = state.before, 0
        for piece, begins in pieces:
            if before:
                shot = new_shot()
                before, processed = {}, shot.load_state_dict(before, piece.device)
            if processed:
                piece, processed, begins = piece[processed:], max(0, processed - len(piece)), False
            if shot is not None and begins:
                state.now = dict
                yield shot.finish()
                shot = None
            shot = shot or new_shot()
            state.now = shot.state_dict
            yield from shot.push(piece)
        if shot is not None:
            state.now = dict
            yield shot.finish()

    def video_bytes(self, height: int, width: int) -> int:
        """See `ClipAnnotator.video_bytes`: the window's features and motion modules."""
        vit, dpt = self.spec.config.vit, self.spec.config.dpt
        features = 2 * vit.channels + dpt.channels[2] + dpt.channels[3] / 4
        window = MAX_FRAMES * height * width / _PATCH_PIXELS * (features + 4 * _PATHS * dpt.features)
        return int((window + _ATTENDED * VALUES_AT_ONCE) * next(self.network.parameters()).element_size())
