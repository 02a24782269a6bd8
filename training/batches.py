"""Crops in memory, and random batches from them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .data import CROP_LONG, CROP_SHORT, FEATURES, SHARP_SHORT, TEACHER_LONG, TEACHER_SHORT, Photo, random_crop, read_npz, read_photos
from .spoil import CLEAN, spoil

RENDER_SHARE, PLAIN_RENDER_SHARE, VIDEO_SHARE = 0.25, 0.15, 0.4  # of a batch; of a plain batch; of the pairs
OFTENER, VIDEOS_OFTENER = 5, 40  # maximum frequency of a render and a video, relative to a photograph
PAIRED = 0.25  # pairs as a share of the images
MOST_SHIFT = 0.03  # in halves of the crop's side, between the views of a pair
SMALLEST_WINDOW = 0.5  # of the crop; most are near 1
MOST_STRETCH = 0.12  # of the aspect's logarithm
MOST_TILT = 7.0  # degrees
UNKNOWN_SKY = 2
ENSEMBLE_SHARE = 0.5  # weight of the ensemble in a photograph's label; the rest is the teacher's
PASSED, PLAIN_PASSED = 0.5, 0.25  # share of the photograph pairs with a moving foreground
PLAIN_CLEAN = 0.85  # share of unchanged images
NEAREST_SHARES = 0.5, 0.9  # quantiles of another photograph's disparity: the pixels beyond are the moving foreground
FARTHEST_PLACE, FARTHEST_STEP = 0.7, 0.15  # in halves of the image's side: from its own place, and from the first view to the second


@dataclass(frozen=True)
class Batch:
    """A training batch.

    Attributes:
        images: (B, 3, H, W) RGB in [0, 1], channels last.
        disparity: (B, 1, H, W), unknown scale and shift.
        normals: (B, 3, H, W), OpenGL axes; zero where unknown.
        sky: (B, 1, H, W), the share of sky; -1 where unknown.
        inside: (B, 1, H, W) bool: pixels to learn from; excludes frames, captions and pasted foreground.
        features16: (B, 64, H / 16, W / 16), the teacher's; all zero if unknown.
        features32: (B, 64, H / 32, W / 32), likewise.
        clean: (B, 3, H, W), the images before pasting and degradation.
        photographs: Indices of the images that come from photographs.
        scaled: (B,) bool: whether scale and shift of the disparity are to be learned.
        pairs: Offset from each of the first images to its second view: another window, other noise or a video's next frame.
    """

    images: Tensor
    disparity: Tensor
    normals: Tensor
    sky: Tensor
    features16: Tensor
    features32: Tensor
    inside: Tensor
    clean: Tensor
    photographs: Tensor
    scaled: Tensor
    pairs: int = 0


@dataclass(frozen=True)
class Stack:
    """Crops of one kind and orientation, as videos of F frames (F = 1: stills).

    rgb (N, F, H, W, 3) uint8, at least as large as the maps; disparity (N, F, h, w) float16; normals (N, F, h, w, 3) int8 or None; sky
    (N, F, h, w) uint8 (0 no, 1 yes, 2 unknown). The teacher's features on a grid over the whole crop: (N, F, C, rows, columns) float16, all
    zero if unknown, or None.
    """

    rgb: Tensor
    disparity: Tensor
    normals: Tensor | None
    sky: Tensor
    features16: Tensor | None = None
    features32: Tensor | None = None

    def halved(self) -> Stack:
        """A copy at half the size: several times faster for drawing small images."""
        rgb = torch.cat([halve(part).round().byte() for part in self.rgb.split(64)])
        disparity = torch.cat([halve(part[..., None])[..., 0].half() for part in self.disparity.split(64)])
        normals = None if self.normals is None else torch.cat([halve(part).round().to(torch.int8) for part in self.normals.split(64)])
        return Stack(rgb, disparity, normals, self.sky[:, :, ::2, ::2].contiguous(), self.features16, self.features32)

    def to(self, device: torch.device) -> Stack:
        """A copy on another device."""
        return Stack(**{name: None if values is None else values.to(device) for name, values in vars(self).items()})


def halve(maps: Tensor) -> Tensor:
    """(N, F, H, W, C) of any type to float32 (N, F, H / 2, W / 2, C)."""
    return F.avg_pool2d(maps.flatten(0, 1).movedim(-1, 1).float(), 2).movedim(1, -1).contiguous().unflatten(0, maps.shape[:2])


Kind = tuple[Stack | None, Stack | None]


@dataclass(frozen=True)
class Crops:
    """All crops of one process by kind, landscape and portrait."""

    photographs: Kind
    renders: Kind
    videos: Kind

    def counts(self) -> tuple[int, int, int]:
        """Number of crops of photographs, renders and videos."""
        first, second, third = (sum(len(stack.rgb) for stack in kind if stack) for kind in self.kinds)
        return first, second, third

    @property
    def kinds(self) -> tuple[Kind, Kind, Kind]:
        """Photographs, renders, videos."""
        return self.photographs, self.renders, self.videos

    def show_sky(self) -> bool:
        """Whether any known sky label contains sky."""
        return any(bool((stack.sky == 1).any()) for kind in self.kinds for stack in kind if stack)

    def halved(self) -> Crops:
        """A copy at half the size."""
        return Crops(*((landscape and landscape.halved(), portrait and portrait.halved()) for landscape, portrait in self.kinds))

    def to(self, device: torch.device) -> Crops:
        """A copy on another device."""
        return Crops(*((landscape and landscape.to(device), portrait and portrait.to(device)) for landscape, portrait in self.kinds))

    def whole(self, short: int, long: int) -> Iterator[tuple[Tensor, Tensor]]:
        """(images, disparity) of all photographs, resized to `short` x `long` pixels instead of cropped, in small batches."""
        for portrait, stack in enumerate(self.photographs):
            size = (long, short) if portrait else (short, long)
            for start in range(0, len(stack.rgb) if stack else 0, 8):
                assert stack is not None
                rgb = stack.rgb[start : start + 8, 0].movedim(-1, 1).float() / 255
                disparity = stack.disparity[start : start + 8].float()
                yield resize(rgb, size).contiguous(memory_format=torch.channels_last), resize(disparity, size)


def resize(values: Tensor, size: tuple[int, int]) -> Tensor:
    """Area average for shrinking, else bilinear."""
    if size[0] <= values.shape[-2] and size[1] <= values.shape[-1]:
        return F.interpolate(values, size=size, mode="area")
    return F.interpolate(values, size=size, mode="bilinear", align_corners=False)


def load_crops(
    data: Path,
    split: str,
    part: int,
    parts: int,
    photographs_only: bool = False,
    first_only: bool = False,
    sharp: bool = False,
    drawn: bool = False,
) -> Crops:
    """Loads every `parts`-th labelled crop of a split.

    Args:
        data: The folder of all data.
        split: Of the list of photographs.
        part: Index of the first, from 0.
        parts: Step.
        photographs_only: Without renders and videos.
        first_only: Only the largest crop of each photograph.
        sharp: Cut the crops' images again at a higher resolution than their labels, where the photograph allows; mixed ones are enlarged.
            Labels are then the teacher's alone, without normals.
        drawn: Also use images drawn for the sky alone, as renders.

    Raises:
        FileNotFoundError: There are none; or there are labels, but none of the photographs that sharp crops are cut from.
        ValueError: A file is damaged, or its arrays have another size than today's.
    """
    photos = {photo.id: photo for photo in read_photos(split=split)}
    labelled = [path for path in sorted((data / "labels").glob("*.npz")) if path.stem.split("_")[0] in photos]
    if sharp:
        cut = [path for path in labelled if photos[path.stem.split("_")[0]].path(data).exists()]
        if labelled and not cut:
            raise FileNotFoundError(f"{data / 'photos'} has none of the {len(labelled)} labelled photographs: run training.data first")
        labelled = cut
    if first_only:
        labelled = [path for path in labelled if path.stem.endswith("_0")]
    rendered, from_videos = ([] if photographs_only else sorted((data / folder).glob("*.npz")) for folder in ("renders", "films"))
    if not labelled and not rendered:
        raise FileNotFoundError(f"{data} has no labels or renders of the split {split!r}: run training.teacher or training.scenes first")
    if drawn:
        rendered = [*rendered, *sorted((data / "drawn").glob("*.npz"))]
    kinds = ((labelled, photos if sharp else {}), (rendered, {}), (from_videos, {}))
    return Crops(*(_stacks(paths[part::parts], data, sharper) for paths, sharper in kinds))


def _stacks(paths: list[Path], data: Path, sharper: Mapping[str, Photo]) -> Kind:
    kept: tuple[list[dict[str, np.ndarray]], list[dict[str, np.ndarray]]] = ([], [])
    for path in paths:
        maps = read_npz(path)
        if maps["rgb"].shape[-3:-1] not in ((CROP_SHORT, CROP_LONG), (CROP_LONG, CROP_SHORT)):
            sizes = f"{CROP_SHORT}x{CROP_LONG} or upright"
            raise ValueError(f"{path} is {maps['rgb'].shape[-3:-1]}; expected {sizes}: delete it and make it again")
        photograph = "normals" not in maps
        if not photograph:
            maps.setdefault("sky", (maps["disparity"] == 0).astype(np.uint8))
        elif (sky := data / "skies" / path.name).exists():
            maps["sky"] = read_npz(sky)["sky"]
        else:
            maps["sky"] = np.full(maps["disparity"].shape, UNKNOWN_SKY, np.uint8)
        portrait = maps["rgb"].shape[-3] > maps["rgb"].shape[-2]
        if (data / "features").exists() and maps["rgb"].ndim == 3:
            maps |= _features(data / "features" / path.name, portrait)
        if (data / "ensemble").exists() and photograph and not sharper:
            maps |= _mixed_labels(maps["disparity"], data / "ensemble" / path.name)
            maps["normals"] = maps["normals"] * (maps["sky"] != 1).astype(np.int8)[..., None]
        if sharper:
            maps["rgb"] = _sharp(maps["rgb"], path.stem, sharper, data)
        kept[portrait].append(maps)
    return _stack(kept[0]), _stack(kept[1])


def _sharp(image: np.ndarray, name: str, photos: Mapping[str, Photo], data: Path) -> np.ndarray:
    """The named crop, cut again at a higher resolution; mixed crops have no larger original and are enlarged."""
    photo, _, index = name.partition("_")
    if index.isdecimal():
        return random_crop(photos[photo].read(data), photo, int(index), SHARP_SHORT)
    height, width = (side * SHARP_SHORT // CROP_SHORT for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)


def _features(path: Path, portrait: bool) -> dict[str, np.ndarray]:
    """The teacher's features of a crop; all zero if missing."""
    height, width = (TEACHER_LONG, TEACHER_SHORT) if portrait else (TEACHER_SHORT, TEACHER_LONG)
    shapes = {name: (channels, height // cell, width // cell) for name, (cell, channels) in FEATURES.items()}
    if not path.exists():
        return {name: np.zeros(shape, np.float16) for name, shape in shapes.items()}
    found = read_npz(path)
    if (sizes := {name: values.shape for name, values in found.items()}) != shapes:
        raise ValueError(f"{path} holds {sizes}; expected {shapes}: delete it and make it again")
    return found


def _mixed_labels(disparity: np.ndarray, path: Path) -> dict[str, np.ndarray]:
    """A blend of the teacher's and the ensemble's disparity (H, W), and the ensemble's normals; without an ensemble, zeros."""
    if not path.exists():
        return {"normals": np.zeros((*disparity.shape, 3), np.int8)}
    found = read_npz(path)
    kinds = {name: (str(values.dtype), values.shape) for name, values in found.items()}
    if kinds != {"disparity": ("float16", disparity.shape), "normals": ("int8", (*disparity.shape, 3))}:
        raise ValueError(f"{path} holds {kinds}; expected float16 disparity and int8 normals of {disparity.shape}: make it again")
    if not np.isfinite(found["disparity"]).all():
        raise ValueError(f"{path} holds disparity that is not finite: delete it and make it again with other networks")
    return {**found, "disparity": disparity + np.float16(ENSEMBLE_SHARE) * (found["disparity"] - disparity)}


def _stack(crops: list[dict[str, np.ndarray]]) -> Stack | None:
    if not crops:
        return None
    # frees each kind of map once it is copied, to avoid holding all twice
    maps = {name: torch.from_numpy(np.stack([crop.pop(name) for crop in crops])) for name in list(crops[0])}
    if maps["disparity"].ndim == 3:
        maps = {name: values[:, None] for name, values in maps.items()}
    return Stack(**{"normals": None, **maps})


def sample_batch(crops: Crops, size: int, short: int, long: int, random: torch.Generator, plain: bool = False) -> Batch:
    """A batch of random windows of random crops, all of one orientation, degraded like images from the web.

    Args:
        crops: The crops; the batch is made on their device.
        size: Number of images.
        short: Short side of the images.
        long: Long side.
        random: The only source of randomness; on the CPU.
        plain: Leave most images unchanged, and use fewer renders.
    """
    counts = [sum(len(kind[i].rgb) for kind in crops.kinds if kind[i]) for i in (0, 1)]  # pyright: ignore[reportOptionalMemberAccess]
    portrait = int(float(torch.rand((), generator=random)) * sum(counts) >= counts[0])
    target = (long, short) if portrait else (short, long)
    photographs, renders, videos = (kind[portrait] for kind in crops.kinds)
    pairs = round(size * PAIRED)
    share = PLAIN_RENDER_SHARE if plain else RENDER_SHARE
    rendered = size if photographs is None else _drawn(size * _share(renders, photographs, share, OFTENER), random)
    from_videos = _drawn(pairs * _share(videos, photographs, VIDEO_SHARE, VIDEOS_OFTENER), random)
    both = photographs or renders or videos
    assert both is not None
    rest = size - 2 * pairs
    paired = [(stack, count) for stack, count in ((both, pairs - from_videos), (videos, from_videos)) if stack and count]
    rests = ((photographs, rest - min(rest, rendered)), (renders, min(rest, rendered)))
    single = [(stack, count) for stack, count in rests if stack and count]
    drawn = [_pairs(stack, count, target, random) for stack, count in paired]
    parts = [first for first, _ in drawn] + [second for _, second in drawn]
    parts += [_windows(stack, *_places(stack, count, target, random), target) for stack, count in single]
    clean, *maps = (torch.cat(maps) for maps in zip(*parts, strict=True))
    drawn_from = [stack for stack, count in (*paired, *paired, *single) for _ in range(count)]
    passed = int((torch.rand(pairs - from_videos, generator=random) < (PLAIN_PASSED if plain else PASSED)).sum())
    images, clear = _pass_by(clean, photographs, passed, pairs, target, random)
    images, inside = spoil(images, random, pairs, PLAIN_CLEAN if plain else CLEAN)
    photographed = torch.tensor([index for index, stack in enumerate(drawn_from) if stack is photographs], dtype=torch.long)
    scaled = torch.zeros(len(drawn_from), dtype=torch.bool).to(clean.device)
    images = images.contiguous(memory_format=torch.channels_last)
    return Batch(images, *maps, inside & clear, clean, photographed.to(clean.device), scaled, pairs)


def _pass_by(
    images: Tensor, photographs: Stack | None, count: int, pairs: int, size: tuple[int, int], random: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Pastes a photograph's foreground into both views of the first pairs, displaced in the second.

    Args:
        images: (B, 3, H, W).
        photographs: The source of the foreground.
        count: Number of pairs.
        pairs: As in `Batch`.
        size: H, W.
        random: The only source of randomness.

    Returns:
        Images, and where they are not covered: (B, 1, H, W) bool. The labels behind stay.
    """
    clear = torch.ones_like(images[:, :1], dtype=torch.bool)
    if photographs is None or not count:
        return images, clear
    index, frame, window = (values.to(images.device) for values in _places(photographs, count, size, random)[:3])
    rgb = _sample(photographs.rgb[index, frame].movedim(-1, 1).float() / 255, window, size)
    disparity = _sample(photographs.disparity[index, frame][:, None].float(), window, size)
    least = NEAREST_SHARES[0] + (NEAREST_SHARES[1] - NEAREST_SHARES[0]) * torch.rand(count, generator=random)
    rank = (least * (size[0] * size[1] - 1)).long().to(disparity.device)
    far = disparity.flatten(1).sort(1).values.gather(1, rank[:, None])[:, :, None, None]
    near = torch.cat((rgb, (disparity > far).float()), 1)
    place = (torch.rand(count, 2, generator=random) - 0.5) * 2 * FARTHEST_PLACE
    step = (torch.rand(count, 2, generator=random) - 0.5) * 2 * FARTHEST_STEP
    images = images.clone()
    for first, at in ((0, place), (pairs, place + step)):
        window = torch.cat((torch.eye(2).expand(count, 2, 2), at[:, :, None]), 2).to(near.device)
        grid = F.affine_grid(window, [count, 1, *size], align_corners=False)
        passing, share = F.grid_sample(near, grid, mode="bilinear", padding_mode="zeros", align_corners=False).split((3, 1), 1)
        images[first : first + count].lerp_(passing, share)
        clear[first : first + count] = share == 0
    return images, clear


def _drawn(mean: float, random: torch.Generator) -> int:
    """A random integer next to `mean` with that expectation: rounding would suppress small shares of a few images."""
    return int(mean + float(torch.rand((), generator=random)))


def _share(stack: Stack | None, photographs: Stack | None, most: float, oftener: int) -> float:
    """The share of a batch for a kind, limited so that its crops are used at most `oftener` times as often as photographs."""
    if stack is None:
        return 0.0
    return most if photographs is None else min(most, oftener * len(stack.rgb) / len(photographs.rgb))


Maps = tuple[Tensor, ...]


def _pairs(stack: Stack, count: int, size: tuple[int, int], random: torch.Generator) -> tuple[Maps, Maps]:
    """Two windows each of random crops, slightly displaced; for videos, of successive frames. A third are identical windows."""
    index, frame, window, turn = _places(stack, count, size, random)
    if stack.rgb.shape[1] > 1:
        return _windows(stack, index, frame, window, turn, size), _windows(stack, index, frame + 1, window, turn, size)
    beside = window.clone()
    shift = (torch.rand(count, 2, generator=random) - 0.5) * 2 * MOST_SHIFT
    beside[:, :, 2] += shift * (torch.rand(count, 1, generator=random) < 2 / 3)
    return _windows(stack, index, frame, window, turn, size), _windows(stack, index, frame, beside, turn, size)


def _places(stack: Stack, count: int, size: tuple[int, int], random: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random windows of random crops, each with its own position, zoom, aspect, tilt and mirroring.

    Returns:
        Indices of crops and frames, affine windows (count, 2, 3), and each window's tilt cosine, tilt sine and mirroring, -1 or 1: (3,
        count).
    """
    height, width = stack.rgb.shape[2:4]
    draw = torch.rand(6, count, generator=random)
    aspect = size[1] / size[0] * torch.exp((draw[0] - 0.5) * 2 * MOST_STRETCH)
    zoom = 1 - (1 - SMALLEST_WINDOW) * draw[1].square()
    columns = torch.minimum(aspect * height, torch.tensor(float(width))) * zoom
    rows = columns / aspect
    cosine, sine = (f((draw[2] - 0.5) * 2 * math.radians(MOST_TILT)) for f in (torch.cos, torch.sin))
    mirror = torch.where(draw[3] < 0.5, -1.0, 1.0)
    across = torch.stack((mirror * cosine * columns / width, -sine * rows / width, (2 * draw[4] - 1) * (1 - columns / width)), 1)
    down = torch.stack((mirror * sine * columns / height, cosine * rows / height, (2 * draw[5] - 1) * (1 - rows / height)), 1)
    index = torch.randint(len(stack.rgb), (count,), generator=random)
    frame = torch.randint(max(1, stack.rgb.shape[1] - 1), (count,), generator=random)
    return index, frame, torch.stack((across, down), 1), torch.stack((cosine, sine, mirror))


def _windows(stack: Stack, index: Tensor, frame: Tensor, window: Tensor, turn: Tensor, size: tuple[int, int]) -> Maps:
    """Colours, disparity, normals, sky and the teacher's features in the windows."""
    index, frame, window, turn = (values.to(stack.rgb.device) for values in (index, frame, window, turn))
    rgb = _sample(stack.rgb[index, frame].movedim(-1, 1).float() / 255, window, size)
    disparity = _sample(stack.disparity[index, frame][:, None].float(), window, size)
    truth = stack.sky[index, frame][:, None]
    sky = _sample(torch.cat((truth == 1, truth == UNKNOWN_SKY), 1).float(), window, size)
    sky = torch.where(sky[:, 1:] > 0, -1.0, sky[:, :1])
    features = [_seen(stack, name, index, frame, window, size) for name in FEATURES]
    if stack.normals is None:
        return rgb, disparity, torch.zeros_like(rgb), sky, *features
    x, y, z = _sample(stack.normals[index, frame].movedim(-1, 1).float() / 127, window, size).unbind(1)
    cosine, sine, mirror = turn[:, :, None, None]
    return rgb, disparity, torch.stack((mirror * (cosine * x - sine * y), sine * x + cosine * y, z), 1), sky, *features


def _seen(stack: Stack, name: str, index: Tensor, frame: Tensor, window: Tensor, size: tuple[int, int]) -> Tensor:
    """The teacher's features in the windows, zero if missing."""
    cell, channels = FEATURES[name]
    values: Tensor | None = getattr(stack, name)
    rows, columns = (side // cell for side in size)
    if values is None:
        return torch.zeros(len(index), channels, rows, columns, device=stack.rgb.device)
    return _sample(values[index, frame].float(), window, (rows, columns))


def _sample(maps: Tensor, window: Tensor, size: tuple[int, int]) -> Tensor:
    """Samples (B, C, h, w) through affine windows (B, 2, 3) in [-1, 1]; replicates the border outside."""
    grid = F.affine_grid(window, [len(maps), 1, *size], align_corners=False)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
