"""Progress of a batch that is done in parts."""

from __future__ import annotations

from ..annotators.family import Progress


def scaled(progress: Progress | None, done: int, chunk: int, total: int) -> Progress | None:
    """Progress within a part of the batch as progress of the whole."""
    if progress is None:
        return None
    return lambda passes, of_passes: progress(done * of_passes + passes * chunk, total * of_passes)
