"""Describes models and their local weights for the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..annotators.specs.base import ModelSpec, WeightFile
from ..model_loader.weights.find import find_weights
from ..model_loader.weights.integrity import seems_usable


def describe(spec: ModelSpec) -> dict[str, Any]:
    """A summary of a model for who chooses one, as JSON can hold it; `file` is None where the weights are not available locally.

    The content of the file is checked when it is loaded.
    """
    path = find_weights(spec.file, seems_usable)
    return {
        "id": spec.id,
        "gives": spec.gives,
        "size": spec.size,
        "size_is_exact": all(file.size for file in spec.files),
        "licence": spec.licence,
        "commercial_use": spec.commercial_use,
        "file": str(path) if path else None,
    }


def find_or_download(spec: ModelSpec, file: WeightFile) -> Path:
    """One of a model's files: where it lies, or where the download put it.

    Raises:
        DownloadError: It is nowhere and cannot be downloaded.
        CheckpointError: A file of the pack itself is missing or damaged.
    """
    from ..model_loader.weights.download import download_weights

    return find_weights(file) or download_weights(file, spec.terms, spec.licence_url)


def find_weights_files(spec: ModelSpec, weights: Path | None = None) -> list[Path]:
    """All files of a model; raises as `find_or_download` does.

    Args:
        spec: The model.
        weights: A file to use in place of the network's published one.

    Raises:
        FileNotFoundError: That file is not there.
    """
    if weights is not None and not weights.is_file():
        raise FileNotFoundError(f"{weights}: there is no such file")
    return [weights if weights is not None and file is spec.file else find_or_download(spec, file) for file in spec.files]
