"""The way of one picture: read, estimate, write; `run` does the three in one go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from ..annotators.base import ModelSpec
from ..annotators.registry import FAMILIES, MODELS
from ..geometry.derive import with_normals
from ..geometry.estimate import Estimate, Quantity
from ..geometry.files import FORMATS, SaveOptions, read_picture, save_estimate, write_depth_png, write_normal_png, write_npz
from ..geometry.render import depth_to_image, normals_to_image
from ..model_loader import Model
from ..utils import as_batch
from .outputs import Outputs, staged


def check_formats(formats: Sequence[str], spec: ModelSpec, fov: float = 0.0) -> None:
    """Refuses what cannot be written of a model's estimates, before any is made.

    Args:
        formats: As `Outputs.formats`.
        spec: The model.
        fov: As in `estimate`.

    Raises:
        ValueError: A surface is asked for, and the model gives no distances, or nobody says which camera took the pictures.
        ImportError: The library that writes a format is missing; the message says how to install it.
    """
    for name in formats:
        chosen = FORMATS[f".{name}"]
        chosen.check_library()
        if not chosen.surface:
            continue
        if spec.quantity in (None, Quantity.DISPARITY):
            metric = [each for each in MODELS.values() if each.quantity is Quantity.METRIC_DEPTH and not each.non_commercial]
            smallest = min(metric, key=lambda each: each.size)
            raise ValueError(
                f"{spec.id} gives {spec.gives}; a mesh (--also {name}) needs metres and a camera: choose a metric model (such as "
                f"{smallest.id}; `depth-normal models` lists all) and --fov"
            )
        if not fov and not FAMILIES[spec.family].knows_camera(spec):
            raise ValueError(f"{spec.id} does not know the camera, and a mesh (--also {name}) needs it: say --fov DEGREES")


def run(
    model: Model, outputs: Outputs, size: int | None = None, fov: float = 0.0, ply_up: str = "y", near_far_ratio: float | None = None
) -> list[Path]:
    """The whole way of one picture.

    Args:
        model: The model to run.
        outputs: The picture and where its results go.
        size: As in `estimate`.
        fov: As in `estimate`.
        ply_up: Of a PLY: what points up.
        near_far_ratio: As in `estimate`.

    Returns:
        The files written.

    Raises:
        ValueError, OSError: The picture cannot be read, or the results cannot be written.
    """
    picture = read(outputs.picture)
    settings = {
        "model": model.spec.id,
        "weights": str(model.weights),
        "dtype": str(model.dtype).removeprefix("torch."),
        "size": size,
        "fov": fov,
        "near_far_ratio": near_far_ratio,
        "formats": list(outputs.formats),
        "ply_up": ply_up,
    }
    found = estimate(model, picture, size, fov, near_far_ratio)
    return write(outputs, found, SaveOptions(picture=picture, ply_up=ply_up), settings)


def read(path: Path) -> Tensor:
    """The picture as (1, 3, H, W) in [0, 1].

    Raises:
        ValueError, OSError: It cannot be read.
    """
    return as_batch(read_picture(path))


def estimate(model: Model, picture: Tensor, size: int | None = None, fov: float = 0.0, near_far_ratio: float | None = None) -> Estimate:
    """What the model gives of a picture, with the normals that follow from its depth.

    Args:
        model: The model to run.
        picture: (1, 3, H, W) in [0, 1].
        size: Side of the network's input in pixels; None = the model's default.
        fov: Degrees that the longer side of the picture spans; 0 = not known.
        near_far_ratio: As `likely_depth`, for the normals of a model that gives none.

    Returns:
        The estimate at the picture's size.
    """
    return model.estimate(picture, size, fov=fov, derive=partial(with_normals, near_far_ratio=near_far_ratio))


def write(outputs: Outputs, found: Estimate, options: SaveOptions, settings: Mapping[str, Any]) -> list[Path]:
    """Writes `<stem>_depth.png`, `<stem>_normals.png`, `<stem>.npz` and the further formats: what of these the estimate gives.

    Args:
        outputs: Where to.
        found: The estimate of one picture.
        options: For the further formats.
        settings: What was asked for, for the record.

    Returns:
        The files. They appear together, each whole, or none does.

    Raises:
        ValueError, OSError: They cannot be written.
    """
    with staged(outputs, settings) as stage:
        written = []
        if found.depth is not None and found.quantity is not None:
            written.append(stage.depth)
            write_depth_png(stage.depth, depth_to_image(found.depth, found.quantity, mask=found.mask))
        if found.normals is not None:
            written.append(stage.normals)
            write_normal_png(stage.normals, normals_to_image(found.normals, source=found.axes, mask=found.mask)[0])
        written.append(stage.archive)
        write_npz(stage.archive, found)
        for path in stage.others:
            written += save_estimate(path, found, options)
    return [outputs.folder / path.name for path in written]
