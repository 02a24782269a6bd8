"""The provenance of maps in shards, so that licences reach those who train on them."""

from __future__ import annotations

from typing import Any

from ...._version import __version__
from ....annotators.registry import find_spec
from ....annotators.specs.base import ModelSpec
from ....model_loader.weights.integrity import sha256_of
from ...model_files import find_weights_files
from ..per_image import Options


def provenance(options: Options, settings: dict[str, Any]) -> dict[str, Any]:
    """What all maps of a run have in common, as JSON can hold it.

    Of weights that the user named, the licence is that of the model's published weights: a file does not say its own.

    Args:
        options: What is asked of every image.
        settings: The same for the records.

    Raises:
        ValueError: An unknown model.
        FileNotFoundError, DownloadError, CheckpointError: As `find_weights_files`.
    """
    spec = find_spec(options.model)
    return {
        "depth_normal": __version__,
        "model": spec.id,
        "weights": [{"file": path.name, "sha256": sha256_of(path)} for path in find_weights_files(spec, options.weights)],
        "licence": spec.licence,
        "licence_url": spec.licence_url or _page(spec),
        "commercial_use": spec.commercial_use,
        "settings": settings,
    }


def _page(spec: ModelSpec) -> str | None:
    """The page that the weights come from, which states their licence."""
    if spec.file.repo_id is None:
        return spec.file.url
    return f"https://huggingface.co/{'spaces/' * (spec.file.repo_type == 'space')}{spec.file.repo_id}"
