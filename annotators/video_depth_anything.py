"""Video Depth Anything: temporally stable depth of videos of any length, and depth of single images.

Source:
    Chen et al., "Video Depth Anything: Consistent Depth Estimation for Super-Long Videos" (2025), code
    DepthAnything/Video-Depth-Anything.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from ..geometry.estimate import Estimate, Quantity
from .depth_anything import DinoAnnotator
from .graphs import Graph, GraphModule, Signature
from .networks.depth_anything import MAX_FRAMES, VALUES_AT_ONCE, VideoDepthAnything
from .preprocessing.resizing import WideFrame, cubic
from .preprocessing.steps import Resize, Steps
from .video import InChunks, IsCut, Shot, WindowState, shots

# Frames longer than this are reduced, as a batch holds 32 of them.
_LONG, _LONGEST_ASPECT = 1.78, 1.777
_PATCH_PIXELS = 14**2
# Measured number of simultaneous maps of the fusion path's second level, and of copies of the values attended to at once.
_PATHS, _ATTENDED = 6, 18


class _Clip(GraphModule):
    """The network on a batch that is the frames of one clip."""

    def forward(self, pixels: Tensor, scalar_inputs: Tensor | None = None) -> tuple[Tensor, ...]:
        return (F.relu(self.network(pixels.to(self._dtype), pixels.shape[0])),)


class VideoDepthAnythingAnnotator(DinoAnnotator):
    """Video Depth Anything, relative and metric.

    Convention:
        Relative networks: disparity, large = near, non-negative, with an unknown scale and shift common to all frames of a shot. Metric
        networks: metres. Images of a batch are independent; for videos use `estimate_video`.
    """

    auto_dtypes = ()  # float16 changes depth images by 0.1 of 255 levels, but was not tested on videos with trained weights
    network_class = VideoDepthAnything
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
        """Estimates a video. A frame's estimate follows after at most 31 more frames, or after a cut.

        Args:
            frames: Chunks (B, 3, H, W) float32 RGB in [0, 1], on the network's device, all of one size; read lazily.
            size, fov: As in `estimate`.
            is_cut: Detects the start of a shot; no state carries over. None = a single shot.
            in_chunks: Splits frames into network calls.
            state: Where to resume; `frames` are then those without a yielded estimate. None = a new video.

        Yields:
            Estimates of one or more frames at the network's size, in order, as soon as they are final.

        Raises:
            ValueError: The state is not of this model, or as for `estimate`.
            ArithmeticError: As for `estimate`.
        """
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
        """A video's memory besides its chunks, in the network's dtype: the window's features and the motion modules.

        Args:
            height, width: Of the network's input.
        """
        vit, dpt = self.spec.config.vit, self.spec.config.dpt
        features = 2 * vit.channels + dpt.channels[2] + dpt.channels[3] / 4
        window = MAX_FRAMES * height * width / _PATCH_PIXELS * (features + 4 * _PATHS * dpt.features)
        return int((window + _ATTENDED * VALUES_AT_ONCE) * next(self.network.parameters()).element_size())
