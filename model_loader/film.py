"""A film through a model: frame after frame, made to hold still, and never held as a whole."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from ..annotators.family import Progress
from ..annotators.film import FilmState
from ..geometry.checks import check_map
from ..geometry.cuts import CutDetector
from ..geometry.estimate import Estimate
from ..geometry.temporal import FilmAligner, FilmOptions
from .model import Model

_DAMAGED = "what was kept of the frames before is damaged"


class EstimationState:
    """What a film's next estimates depend on of the frames before: with it a film that was stopped goes on, bit by bit.

    Args:
        options: How frames are made one.
    """

    def __init__(self, options: FilmOptions | None = None) -> None:
        self.windows = FilmState()
        self._aligner = FilmAligner(options)
        self._before: Any = None

    def state_dict(self) -> dict[str, Any]:
        """What is to be kept, at an estimate that was just given: tensors in dictionaries and tuples, and numbers."""
        return {"aligner": self._aligner.state_dict(), "windows": self.windows.now(), "at_once": self.windows.at_once}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes on where another's `state_dict` was taken, with the same model and options; on any device.

        Raises:
            ValueError: That is no such state; some of it is found out by the first estimate.
        """
        before, windows, at_once = (state.get(name) for name in ("aligner", "windows", "at_once"))
        if not (isinstance(before, Mapping) and isinstance(windows, Mapping) and isinstance(at_once, int) and at_once >= 0):
            raise ValueError(_DAMAGED)
        self._before, self.windows = before, FilmState(before=windows, at_once=at_once)

    def aligner(self, device: torch.device) -> FilmAligner:
        """What brings estimates to those before, on their device."""
        if self._before is not None:
            try:
                self._aligner.load_state_dict(_moved(self._before, device))
            except (KeyError, TypeError, AttributeError) as error:
                raise ValueError(f"{_DAMAGED} ({error})") from error
            self._before = None
        return self._aligner


def _moved(state: Any, device: torch.device) -> Any:
    if isinstance(state, Mapping):
        return {name: _moved(each, device) for name, each in state.items()}
    if isinstance(state, list | tuple):
        return tuple(_moved(each, device) for each in state)
    return state.to(device) if isinstance(state, Tensor) else state


def estimate_film(
    model: Model,
    frames: Iterable[Tensor],
    options: FilmOptions = FilmOptions(),  # noqa: B008 (it is frozen)
    *,
    size: int | None = None,
    fov: float = 0.0,
    derive: Callable[[Estimate], Estimate] | None = None,
    progress: Progress | None = None,
    state: EstimationState | None = None,
) -> Iterator[Estimate]:
    """Depth and/or normals of a film, at its frames' own size, in order.

    Args:
        model: Any model.
        frames: The film in chunks of one or more frames: (B, 3, H, W) in [0, 1], all of one size. A chunk is asked for when the estimates
            of the one before have been taken, by models that see several frames at once up to 31 frames sooner; a film without any
            gives no estimate.
        options: How frames are made one. Models that see several frames at once hold still by themselves, and need only `cuts`.
        size: As `Model.estimate`.
        fov: As `Model.estimate`.
        derive: As `Model.estimate`; it sees the depth that holds still.
        progress: Called with (frames done, frames read so far).
        state: Where it goes on, and what is to be kept to go on later: the frames are then those whose estimates were not given yet. None =
            a film begins.

    Yields:
        Estimates of one or more frames, float32, where the frames were.

    Raises:
        ValueError: A chunk of another size than the first (start a new film there), and as `Model.estimate`.
        MemoryError, ArithmeticError: As `Model.estimate`.
    """
    film, state = _Film(frames), state or EstimationState(options)
    if model.is_film_model:
        parts = model.film(film, size, fov=fov, is_cut=CutDetector().push if options.cuts else None, state=state.windows)
    else:
        parts = _one_by_one(model, film, state, size, fov)
    done = 0
    for part in parts:
        derived = part if derive is None else derive(part)
        done += part.batch
        yield derived.resized(film.height, film.width, model.resampling).to(film.device)
        if progress is not None:
            progress(done, film.read)


def _one_by_one(model: Model, film: _Film, state: EstimationState, size: int | None, fov: float) -> Iterator[Estimate]:
    """The estimates of a model that sees one picture at a time, at its own size, brought to one another."""
    for chunk in film:
        done = 0
        for part in model.estimates(chunk, size, fov=fov):
            yield state.aligner(part.device).push(chunk[done : done + part.batch], part)
            done += part.batch


class _Film:
    """The chunks of a film, and what is known of them so far.

    Attributes:
        read: Frames read so far.
        height, width: Of every frame, once one is read.
        device: Where the last chunk was.
    """

    def __init__(self, chunks: Iterable[Tensor]) -> None:
        self._chunks = chunks
        self.read = self.height = self.width = 0
        self.device = torch.device("cpu")

    def __iter__(self) -> Iterator[Tensor]:
        for chunk in self._chunks:
            check_map(chunk, 3, "frames")
            height, width = chunk.shape[-2:]
            if self.read and (height, width) != (self.height, self.width):
                raise ValueError(
                    f"the film changes from {self.width}x{self.height} to {width}x{height} pixels after {self.read} frames; "
                    "bring all frames to one size, or begin a new film there"
                )
            self.height, self.width, self.device = height, width, chunk.device
            self.read += chunk.shape[0]
            yield chunk
