"""What families have in common that see several frames of a film at once."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ..geometry.estimate import Estimate
from .base import Annotator

IsCut = Callable[[Tensor], Tensor]
"""Says of each of some frames (b, 3, H, W), as (b,) bool, whether a new shot begins with it. It is called with all frames in order."""

InChunks = Callable[[Callable[[int, int], None], int], None]
"""Calls a step with (start, stop) for all of so many frames, as many at once as the memory holds."""


@dataclass
class FilmState:
    """What a film's next frames depend on of those before, so that a film that was stopped goes on bit by bit.

    Attributes:
        before: What `now` gave where it was stopped; empty = nothing was before.
        now: Gives what is to be kept, by name, on the CPU. `FilmAnnotator.film` sets it with every estimate that it gives; it holds until
            the next one is asked for.
        at_once: How many frames went into one call of the network at most; 0 = not known yet.
    """

    before: Mapping[str, Tensor] = field(default_factory=dict)
    now: Callable[[], dict[str, Tensor]] = dict
    at_once: int = 0


class FilmAnnotator(Annotator):
    """An annotator whose network sees several frames of a film at once."""

    @abstractmethod
    def film(
        self,
        frames: Iterable[Tensor],
        size: int | None,
        *,
        fov: float,
        is_cut: IsCut | None,
        in_chunks: InChunks,
        state: FilmState | None = None,
    ) -> Iterator[Estimate]:
        """Estimates a film.

        Args:
            frames: Chunks (B, 3, H, W) float32 RGB in [0, 1], on the network's device, all of one size; each is asked for when it is
                needed.
            size: As `estimate`.
            fov: As `estimate`.
            is_cut: Where shots begin; nothing is brought from one to the next. None = the film is one shot.
            in_chunks: Divides frames among calls of the network.
            state: Where it goes on; the frames are then those whose estimates were not given yet. None = a film begins.

        Yields:
            Estimates of one or more frames at the network's size, in order, as soon as no later frame changes them.

        Raises:
            ValueError: The state is none of this model's.
            ValueError, ArithmeticError: As `estimate`.
        """

    @abstractmethod
    def film_bytes(self, height: int, width: int) -> int:
        """Memory that a film takes beside the chunks, in the network's dtype.

        Args:
            height: Of the network's input.
            width: Of the network's input.
        """


def four_at_once(step: Callable[[int, int], None], total: int) -> None:
    """The simplest `InChunks`."""
    for start in range(0, total, 4):
        step(start, min(start + 4, total))


def shots(frames: Iterable[Tensor], is_cut: IsCut | None) -> Iterator[tuple[Tensor, bool]]:
    """A film in pieces that no cut goes through.

    Args:
        frames: Chunks (B, 3, H, W) of the film.
        is_cut: Where shots begin; None = the film is one shot.

    Yields:
        A piece (b, 3, H, W), and whether a new shot begins with it.
    """
    for chunk in frames:
        cuts: list[bool] = [False] * len(chunk) if is_cut is None else is_cut(chunk).tolist()
        starts = [index for index, cut in enumerate(cuts) if cut or not index]
        for start, stop in zip(starts, [*starts[1:], len(chunk)], strict=True):
            yield chunk[start:stop], cuts[start]
