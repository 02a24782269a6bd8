"""A film's frames on their way through a network: as many at once as the memory holds, and again where a dtype was too small."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor

from ..annotators.base import is_out_of_memory
from ..annotators.film import FilmAnnotator, FilmState, IsCut
from ..annotators.windows import ENCODED_AT_ONCE
from ..annotators.wording import wording
from ..geometry.estimate import Estimate
from ..utils import check_pictures, pictures_to_rgb
from . import host

logger = logging.getLogger(__name__)


class Chunks:
    """Calls a step for all of so many frames, in smaller chunks after the memory had no room for a larger one.

    Args:
        state: How many frames are in a chunk (`at_once`): it is lowered there.
        what: What is done to them, and where, for messages: "video-depth-anything-small at 686x518 on cuda".
    """

    def __init__(self, state: FilmState, what: str) -> None:
        self._state = state
        self._what = what

    def __call__(self, step: Callable[[int, int], None], total: int) -> None:
        """Calls `step(start, stop)`, again where it had no room. ComfyUI's user can stop it between the chunks.

        Raises:
            MemoryError: There is no room for one frame.
        """
        done = 0
        while done < total:
            host.throw_if_interrupted()
            stop = min(total, done + self._state.at_once)
            problem = _attempt(step, done, stop)
            if problem is None:
                done = stop
                continue
            host.empty_cache()
            if stop - done == 1:
                raise MemoryError(f"{self._what}: the memory is too small; {wording().lower_size}, or free other models") from problem
            self._state.at_once = (stop - done) // 2
            logger.warning("%s: out of memory, going on with %d frames at once", self._what, self._state.at_once)


def steady_number(room: int, most: int) -> int:
    """How many frames go into one call of a network.

    Args:
        room: As many as the memory holds by now.
        most: As many as there are at most.

    Returns:
        A power of two (unless `most` is none and fits): a little more or less memory does not change it, and with it the last bits of the
        result.
    """
    return most if room >= most else 1 << (max(1, room).bit_length() - 1)


@torch.no_grad()
def film_in_chunks(
    annotator: FilmAnnotator,
    frames: Iterator[Tensor],
    ready: Callable[[int, int, int | None], tuple[torch.device, int]],
    state: FilmState,
    *,
    size: int | None,
    fov: float,
    is_cut: IsCut | None,
) -> Iterator[Estimate]:
    """The estimates of a film by a network, as many frames in one call as the memory holds.

    Args:
        annotator: The network.
        frames: As `Model.film`; without any there is no estimate.
        ready: Brings the network to its device for frames of a height and width and a `size`; gives the device, and how many frames there
            is room for in one call.
        state: As `FilmAnnotator.film`.
        size: As `FilmAnnotator.film`.
        fov: As `FilmAnnotator.film`.
        is_cut: As `FilmAnnotator.film`.

    Yields:
        As `FilmAnnotator.film`.
    """
    first = next(frames, None)
    if first is None:
        return
    height, width = first.shape[-2:]
    chunks = itertools.chain((first,), frames)
    del first  # it may be the whole film
    device, room = ready(height, width, size)
    state.at_once = steady_number(room, state.at_once or ENCODED_AT_ONCE)

    def pieces() -> Iterator[Tensor]:
        for chunk in chunks:
            check_pictures(chunk)
            for piece in chunk.split(state.at_once):
                yield pictures_to_rgb(piece).to(device)

    net_height, net_width = annotator.checked_network_size(height, width, size)
    in_chunks = Chunks(state, f"{annotator.spec.id} at {net_width}x{net_height} on {device}")
    yield from annotator.film(pieces(), size, fov=fov, is_cut=is_cut, in_chunks=in_chunks, state=state)


class Beginning:
    """A film that can begin anew, as long as nothing of it was given out.

    Args:
        chunks: The film.
        is_over: Whether it cannot begin anew at all.
    """

    def __init__(self, chunks: Iterable[Tensor], is_over: bool = False) -> None:
        self._rest = iter(chunks)
        self._kept: list[Tensor] | None = None if is_over else []

    def __iter__(self) -> Iterator[Tensor]:
        yield from tuple(self._kept or ())
        for chunk in self._rest:
            if self._kept is not None:
                self._kept.append(chunk)
            yield chunk

    @property
    def is_over(self) -> bool:
        """Whether `forget` was called."""
        return self._kept is None

    def forget(self) -> None:
        """Lets go of what was read so far."""
        self._kept = None


def without_frames(error: Exception) -> Exception:
    """The exception without what its traceback holds: the tensors of every function that it passed through."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _attempt(step: Callable[[int, int], None], start: int, stop: int) -> Exception | None:
    """Calls the step; want of memory as an exception that keeps no tensor alive."""
    try:
        step(start, stop)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return without_frames(error)
    return None
