"""Trains the head that makes tiny's maps follow the edges of images, on scenes that are ray-traced as it goes.

    python -m training.sharp --output FILE.pt [--photos FILE.npz] [--minutes 8] [--device cuda] [--scenes DIR]

tiny itself is not trained. --photos holds photographs with labels made by `training.sharp_photos`; --scenes is as of `evaluate.py`.
"""

from __future__ import annotations

import argparse
import copy
import json
import logging
import math
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from depth_normal.annotators.detail import without_border_lines
from depth_normal.annotators.networks.configs import TINY_2
from depth_normal.annotators.networks.folding import fold_norms
from depth_normal.annotators.networks.tiny import STEEP, SharpHead, Surfaces, TinyNetwork, ramps, untrained_counters, with_scene

from .traced import Draw, Views, patterns, render

TINY_FILE = Path(__file__).parents[1] / "annotators" / "tiny.safetensors"
SHAPES = ((224, 288), (224, 320), (288, 224), (224, 384), (256, 320))
MAPS, STEEPER = 5, 2.0
FINER = 3  # rendered pixels per network pixel
TEXTURE, TEXTURES = 128, 384
LEVELS = 511  # of the photographs' labels
NEAR_JUMP, JUMP = 4, 1.08
STEPS = (1, 2, 4, 8, 16)

logger = logging.getLogger(__name__)


def frozen_tiny(device: torch.device) -> TinyNetwork:
    """The published network."""
    network = TinyNetwork(TINY_2)
    state = with_scene(load_file(TINY_FILE))
    network.load_state_dict({**untrained_counters(network), **{key: value.float() for key, value in state.items()}})
    fold_norms(network.eval().float())
    network.requires_grad_(requires_grad=False)
    network.mirrored = True
    return network.to(device).to(memory_format=torch.channels_last)


@torch.no_grad()
def coarse(network: TinyNetwork, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Maps of tiny (B, 5, h, w), as in its annotator, and its features, from images of its own input size."""
    output, finest, path = network.with_features(images)
    output = output.contiguous()
    normals = F.normalize(without_border_lines(F.normalize(output[:, 1:4], dim=1), edges=0.2), dim=1)
    return torch.cat((without_border_lines(output[:, :1]), normals, output[:, 4:]), 1), finest, path


def photographs(path: Path | None, device: torch.device) -> tuple[list[Tensor], list[Tensor]]:
    """Images (3, H, W) and disparity (1, H, W) from a file of `sharp_photos`; uint8 and fp16."""
    if path is None:
        return [], []
    images, labels = [], []
    with np.load(path) as arrays:
        for index in range(int(arrays["count"])):
            image = cv2.imdecode(arrays[f"image{index}"], cv2.IMREAD_COLOR)
            label = cv2.imdecode(arrays[f"label{index}"], cv2.IMREAD_UNCHANGED)
            assert image is not None
            assert label is not None
            images.append(torch.from_numpy(np.ascontiguousarray(image[..., ::-1])).permute(2, 0, 1).to(device))
            labels.append(torch.from_numpy(label.astype(np.float32) / LEVELS)[None].half().to(device))
    return images, labels


def textures(draw: Draw, photos: list[Tensor], count: int) -> Tensor:
    """(count, 3, S, S): patterns and parts of photographs."""
    made = patterns(draw, count, TEXTURE)
    random = np.random.default_rng(0)
    for index in range(count * 3 // 5 if photos else 0):
        photo = photos[random.integers(len(photos))]
        side = int(min(photo.shape[1:]) * random.uniform(0.15, 0.9))
        y, x = (int(random.integers(length - side + 1)) for length in photo.shape[1:])
        part = photo[None, :, y : y + side, x : x + side].float() / 255
        made[index] = F.interpolate(part, (TEXTURE, TEXTURE), mode="bilinear", antialias=True)[0].clamp(0, 1)
    return made


def fitted(disparity: Tensor, inverse: Tensor, known: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Robustly fitted scale and shift (B, 1, 1, 1) from disparity to inverse depth, and the fit's quality (B, 1, 1, 1), 0 to 1."""
    weight = known.float()
    scale = shift = corr = torch.zeros(1)
    for _ in range(5):
        total = weight.sum((2, 3), keepdim=True).clamp(min=1e-6)
        x, y = (weight * disparity).sum((2, 3), keepdim=True) / total, (weight * inverse).sum((2, 3), keepdim=True) / total
        xy = (weight * (disparity - x) * (inverse - y)).sum((2, 3), keepdim=True)
        xx = (weight * (disparity - x) ** 2).sum((2, 3), keepdim=True)
        yy = (weight * (inverse - y) ** 2).sum((2, 3), keepdim=True)
        scale = (xy / xx.clamp(min=1e-9)).clamp(min=1e-6)
        shift = y - scale * x
        corr = xy / (xx * yy).sqrt().clamp(min=1e-9)
        error = (scale * disparity + shift - inverse).abs()
        middle = (error * known).sum((2, 3), keepdim=True) / known.sum((2, 3), keepdim=True).clamp(min=1)
        weight = known / (error + 0.2 * middle + 1e-6)
    good = (scale > 2e-6) & (known.float().mean((1, 2, 3), keepdim=True) > 0.05)
    return scale, shift, ((corr - 0.3) / 0.4).clamp(0, 1) * good


def jumps(inverse: Tensor) -> Tensor:
    """1 within `NEAR_JUMP` pixels of neighbours whose depths differ by more than a factor `JUMP`, else 0."""
    log = inverse.clamp(min=1e-4).log()
    side, down = (log.diff(dim=axis).abs() > math.log(JUMP) for axis in (3, 2))
    edge = F.pad(side.float(), (0, 1)).maximum(F.pad(down.float(), (0, 0, 0, 1)))
    return F.max_pool2d(edge, 2 * NEAR_JUMP + 1, 1, NEAR_JUMP)


def smooth(x: Tensor, by: int) -> Tensor:
    """Block means of `by` x `by` pixels, interpolated linearly."""
    return F.interpolate(F.avg_pool2d(x, by, ceil_mode=True, count_include_pad=False), x.shape[-2:], mode="bilinear", align_corners=False)


def depth_losses(found: Tensor, true: Tensor, before: Tensor, weight: Tensor, near: Tensor) -> dict[str, Tensor]:
    """Losses of disparity in tiny's unit."""
    error = found - true
    at_edges = weight * (1 + 3 * near)
    result = {"anchor": smooth(found - before, 48).abs().mean()}
    # smooth errors are not the head's to correct
    local = [error - smooth(error, by) for by in (18, 48)]
    result["local"] = (at_edges * (local[0].abs() + local[1].abs())).mean() / 2
    result["near"] = (near * local[1].abs()).mean()
    slope = torch.zeros((), device=found.device)
    for step in STEPS:
        across, down = error[..., step:] - error[..., :-step], error[..., step:, :] - error[..., :-step, :]
        slope = slope + ((at_edges[..., step:] * across.abs()).mean() + (at_edges[..., step:, :] * down.abs()).mean()) / 2
    result["slope"] = slope / len(STEPS)
    return result


@torch.no_grad()
def spoiled(draw: Draw, images: Tensor) -> Tensor:
    """Degrades images like cameras and the web: blur, noise, compression, contrast."""
    count = len(images)
    height, width = images.shape[-2:]
    soft = draw.number()
    if soft < 0.35:
        scale = 1 + 2 * draw.number() ** 2
        small = F.interpolate(images, (round(height / scale), round(width / scale)), mode="bilinear", antialias=True)
        images = torch.where(draw.chance(0.7, count, 1, 1, 1), F.interpolate(small, (height, width), mode="bicubic"), images)
    gamma = torch.exp(0.25 * draw.normal(count, 1, 1, 1)).clamp(0.5, 2)
    images = images.clamp(1e-4, 1) ** gamma * (1 + 0.06 * draw.normal(count, 3, 1, 1))
    grain = draw.uniform(0, 1, count, 1, 1, 1) ** 3 * 0.06
    noise = draw.normal(count, 3, height, width)
    if soft > 0.6:
        noise = F.avg_pool2d(noise, 3, 1, 1) * 2.5
    images = (images + grain * noise).clamp(0, 1)
    images = torch.where(draw.chance(0.06, count, 1, 1, 1), images.mean(1, keepdim=True), images)
    return torch.where(draw.chance(0.45, count, 1, 1, 1), _compressed(draw, images), images)


def _compressed(draw: Draw, images: Tensor) -> Tensor:
    """JPEG of luma and chroma in 8x8 blocks, without chroma subsampling."""
    count, _, height, width = images.shape
    k = torch.arange(8, device=images.device, dtype=torch.float32)
    basis = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / 16) * 0.5
    basis[0] *= math.sqrt(0.5)
    ycc = images.new_tensor([[0.299, 0.587, 0.114], [-0.169, -0.331, 0.5], [0.5, -0.419, -0.081]])
    planes = torch.einsum("ij,bjhw->bihw", ycc, images)
    blocks = planes.unflatten(3, (width // 8, 8)).unflatten(2, (height // 8, 8)).transpose(3, 4)
    waves = basis @ blocks @ basis.T
    table = (8 + 4.5 * (k[:, None] + k[None])) / 255
    table = (
        table * torch.tensor([1.0, 1.8, 1.8], device=images.device).view(1, 3, 1, 1, 1, 1) * draw.uniform(0.15, 1.5, count, 1, 1, 1, 1, 1)
    )
    blocks = basis.T @ ((waves / table).round() * table) @ basis
    planes = blocks.transpose(3, 4).flatten(4).flatten(2, 3)
    return torch.einsum("ij,bjhw->bihw", torch.linalg.inv(ycc), planes).clamp(0, 1)


@torch.no_grad()
def out_of_focus(draw: Draw, views: Views) -> Tensor:
    """Defocuses what lies behind the focal plane, the more the farther, in some images."""
    count = len(views.images)
    focus = (
        views.inverse.flatten(1).quantile(0.8, dim=1)[:, None, None, None]
        if views.inverse[0].numel() < 1e7
        else views.inverse.amax((2, 3), keepdim=True)
    )
    blur = F.avg_pool2d(F.avg_pool2d(views.images, 9, 1, 4), 9, 1, 4)
    away = ((focus - views.inverse) / focus.clamp(min=1e-6) * draw.uniform(-1, 2, count, 1, 1, 1).clamp(min=0)).clamp(0, 1)
    near = F.max_pool2d(1 - away, 9, 1, 4)
    share = torch.where(draw.chance(0.2, count, 1, 1, 1), (1 - near).minimum(away), 0)
    return views.images.lerp(blur, share)


def photo_batch(draw: Draw, photos: list[Tensor], labels: list[Tensor], count: int, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Random parts of photographs and their labels."""
    images, disparity = [], []
    height, width = size
    for index in (int(draw.number() * len(photos)) for _ in range(count)):
        photo, label = photos[index], labels[index]
        rows, columns = photo.shape[1:]
        scale = min(rows / height, columns / width) * (1 - 0.4 * draw.number())
        part = int(height * scale), int(width * scale)
        y, x = (int(draw.number() * (whole - used)) for whole, used in zip((rows, columns), part, strict=True))
        window = (slice(None), slice(y, y + part[0]), slice(x, x + part[1]))
        image = F.interpolate(photo[window][None].float() / 255, size, mode="bicubic", antialias=True).clamp(0, 1)
        known = F.interpolate(label[window][None].float(), size, mode="bilinear", align_corners=False)
        if draw.number() < 0.5:
            image, known = image.flip(3), known.flip(3)
        images.append(image)
        disparity.append(known)
    return torch.cat(images), torch.cat(disparity)


class TrainedHead(SharpHead):
    """A head with extra outputs for training only: corrections of both surfaces' maps. Its logit is half as steep."""

    def __init__(self) -> None:
        super().__init__(more=2 * MAPS)

    def forward(self, images: Tensor, maps: Tensor, finest: Tensor, path: Tensor) -> Surfaces:
        """As `SharpHead`, for all maps."""
        near, far, place = ramps(maps[:, :1])
        first, second, fine = self.outputs(images, maps, (near, far, place), finest, path).split((MAPS, MAPS, 4), 1)
        along = F.interpolate(place, scale_factor=2, mode="bilinear", align_corners=False)
        rest = maps[:, 1:]
        logit = STEEP / STEEPER * along + F.pixel_shuffle(fine, 2)
        return Surfaces(first + torch.cat((near, rest), 1), second + torch.cat((far, rest), 1), logit)


def kept(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The weights of a `SharpHead` from those of a `TrainedHead`, in fp16, without training-only counters."""
    last = {key: STEEPER * state[key][2 * MAPS :] for key in ("last.weight", "last.bias")}
    return {key: value.half().contiguous() for key, value in {**state, **last}.items() if not key.endswith("num_batches_tracked")}


class Trainer:
    """The state of the training."""

    def __init__(self, device: torch.device, photos: Path | None, batch: int, seed: int = 0) -> None:
        self.device, self.batch = device, batch
        self.draw = Draw(device, seed)
        self.tiny = frozen_tiny(device)
        self.head = TrainedHead().to(device).to(memory_format=torch.channels_last).train()
        self.average = copy.deepcopy(self.head).requires_grad_(requires_grad=False)
        self.photos, self.labels = photographs(photos, device)
        self.textures = textures(self.draw, self.photos, TEXTURES)
        self.optimiser = torch.optim.AdamW(self.head.parameters(), lr=2e-3, weight_decay=1e-3)
        self.step = 0
        self.rendered: tuple[Tensor, Tensor, Tensor, Tensor]

    @torch.no_grad()
    def views(self, height: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Images, inverse depth (of photographs, which come last, their labels), normals, and whether these are known (B, 1, 1, 1)."""
        rendered = render(self.draw, self.batch, height, width, self.textures)
        images = out_of_focus(self.draw, rendered)
        known = torch.ones(self.batch, 1, 1, 1, device=self.device)
        if not self.photos:
            return images, rendered.inverse, rendered.normals, known
        count = max(1, self.batch // 4)
        photo, label = photo_batch(self.draw, self.photos, self.labels, count, (height, width))
        label = 0.25 + label  # in units of its range; never 0, the sky's value
        # pastes objects of rendered views into 60 % of the photographs
        pasted = rendered.inverse[:count] / rendered.inverse[:count].amax((2, 3), keepdim=True).clamp(min=1e-6)
        ahead = (pasted > self.draw.uniform(0.35, 0.7, count, 1, 1, 1)) & (rendered.normals[:count, 1:2] < 0.9) & (0.25 + pasted > label)
        ahead &= self.draw.chance(0.6, count, 1, 1, 1)
        images = torch.cat((images[count:], torch.where(ahead, images[:count], photo)))
        inverse = torch.cat((rendered.inverse[count:], torch.where(ahead, 0.25 + pasted, label)))
        normals = torch.cat((rendered.normals[count:], rendered.normals[:count]))
        known = torch.cat((known[count:], 0 * known[:count]))
        return images, inverse, normals, known

    def losses(self, images: Tensor, inverse: Tensor, normals: Tensor, known: Tensor) -> tuple[dict[str, Tensor], Surfaces]:
        """Losses of a batch."""
        height, width = images.shape[-2:]
        small = height // FINER, width // FINER
        shown = F.interpolate(images, (2 * small[0], 2 * small[1]), mode="bilinear", antialias=True)
        maps, finest, path = coarse(self.tiny, F.avg_pool2d(shown, 2))
        land = F.avg_pool2d((inverse > 0).float(), FINER) > 0.99
        scale, shift, good = fitted(maps[:, :1], F.avg_pool2d(inverse, FINER), land)
        lowest = maps[:, :1].amin((2, 3), keepdim=True) - 1
        true = ((inverse - shift) / scale).maximum(lowest)
        surfaces = self.head(shown, maps, finest, path)
        steeper = 2.0 if self.draw.number() < 0.3 else 1.0
        seen = surfaces.seen(height, width, steeper=steeper)
        size = inverse.flatten(1)[:, ::97].quantile(0.95, dim=1)[:, None, None, None]
        weight = 1 / (inverse + 0.08 * size)
        weight = weight * torch.where(inverse > 0, 1.0, 0.25)
        weight = good * weight / weight.mean((2, 3), keepdim=True)
        near = jumps(torch.where(inverse > 0, inverse, 0.02 * size))
        before = F.interpolate(maps[:, :1], (height, width), mode="bilinear", align_corners=False)
        result = depth_losses(seen[:, :1], true, before, weight, good * near)
        directions = F.normalize(seen[:, 1:4], dim=1)
        facing = known * (inverse > 0) * (1 + 2 * near)
        result["normals"] = (facing * (directions - normals).abs().sum(1, keepdim=True)).mean()
        apart = directions - normals
        result["creases"] = ((facing[..., 1:] * apart.diff(dim=3).abs()).mean() + (facing[..., 1:, :] * apart.diff(dim=2).abs()).mean()) * 3
        sky = (inverse <= 0).float()
        result["sky"] = (known * F.binary_cross_entropy_with_logits(seen[:, 4:5].clamp(-12, 12), sky, reduction="none")).mean()
        return result, surfaces

    def train(self, share: float) -> dict[str, float]:
        """One step; `share` of the training is done."""
        # each batch is used twice: degraded differently, and mirrored
        if self.step % 2 == 0:
            shape = SHAPES[self.step // 2 % len(SHAPES)]
            self.rendered = self.views(shape[0] * FINER, shape[1] * FINER)
        else:
            images, inverse, normals, known = (each.flip(3) for each in self.rendered)
            self.rendered = images, inverse, normals * normals.new_tensor([-1, 1, 1]).view(1, 3, 1, 1), known.flip(3)
        images, inverse, normals, known = self.rendered
        images = spoiled(self.draw, images)
        losses, _ = self.losses(images, inverse, normals, known)
        total = sum(WEIGHTS[name] * value for name, value in losses.items())
        assert isinstance(total, Tensor)
        for group in self.optimiser.param_groups:
            group["lr"] = 2e-3 * min(1, (self.step + 1) / 60) * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(share, 1))))
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        self.optimiser.step()
        self.step += 1
        decay = min(0.998, 1 - 1 / (1 + self.step / 4))
        with torch.no_grad():
            for mean, value in zip(self.average.state_dict().values(), self.head.state_dict().values(), strict=True):
                if mean.dtype.is_floating_point:
                    mean.lerp_(value.to(mean.dtype), 1 - decay)
        return {"total": total.detach(), **{name: value.detach() for name, value in losses.items()}}  # pyright: ignore[reportReturnType]

    def save(self, path: Path) -> None:
        """Saves the averaged weights atomically."""
        temporary = path.with_suffix(".part")
        torch.save({key: value.cpu().contiguous() for key, value in self.average.state_dict().items()}, temporary)
        temporary.replace(path)

    @torch.no_grad()
    def evaluate(self, scenes: list[dict[str, np.ndarray]]) -> dict[str, float]:
        """A short version of `benchmarks/edges.py`: d1, and F1, precision and recall of jumps by 1.05 to 1.25.

        Of tiny's maps, and of the head's with a flatter ("soft") and its own steepness.
        """
        self.average.eval()
        head = SharpHead().to(self.device).eval()
        head.load_state_dict({key: value.float() for key, value in kept(self.average.state_dict()).items()}, strict=False)
        rows = []
        for scene in scenes:
            image = torch.from_numpy(scene["rgb"].astype(np.float32) / 255).permute(2, 0, 1)[None].to(self.device)
            mask = torch.from_numpy(scene["mask"]).to(self.device)[None, None]
            depth = torch.from_numpy(scene["depth"]).to(self.device)[None, None]
            inverse = torch.where(mask, 1 / depth.clamp(min=1e-6), 1 / (4 * depth[mask].max()))
            height, width = image.shape[-2:]
            short = 224 / min(height, width)
            small = [round(side * short / 32) * 32 for side in (height, width)]
            shown = F.interpolate(image, (2 * small[0], 2 * small[1]), mode="bilinear", antialias=True)
            inputs = F.interpolate(image, (small[0], small[1]), mode="bilinear", antialias=True)
            maps, finest, path = coarse(self.tiny, inputs)
            surfaces = head(shown, maps, finest, path)
            found = [F.interpolate(maps[:, :1], (height, width), mode="bilinear", align_corners=False)]
            found += [surfaces.seen(height, width, slice(0, 1), steeper) for steeper in (0.5, 1.0)]
            row = []
            for each in found:
                scale, shift, _ = fitted(each, inverse, mask)
                row += _scores((scale * each + shift).clamp(min=0.02 * float(inverse[mask].quantile(0.98))), inverse, mask)
            rows.append(row)
        names = [f"{name}{kind}" for kind in ("", " soft", " head") for name in ("d1", "F1", "precision", "recall")]
        return dict(zip(names, (round(float(value), 4) for value in np.mean(rows, 0)), strict=True))


WEIGHTS = {"anchor": 0.3, "local": 1.0, "near": 1.0, "slope": 1.5, "normals": 0.12, "creases": 0.3, "sky": 0.2}


def _scores(found: Tensor, true: Tensor, mask: Tensor) -> list[float]:
    """d1, F1, precision and recall."""
    d1 = float((torch.maximum(found / true, true / found) < 1.25)[mask].float().mean())
    rows = []
    for ratio in (1.05, 1.1, 1.15, 1.2, 1.25):
        ours, theirs = (_steps(each, ratio) for each in (found, true))
        wide = [F.max_pool2d(each, 5, 1, 2) for each in (ours, theirs)]
        precision, recall = (
            float((ours * wide[1]).sum() / ours.sum().clamp(min=1)),
            float((theirs * wide[0]).sum() / theirs.sum().clamp(min=1)),
        )
        rows.append((2 * precision * recall / max(precision + recall, 1e-9), precision, recall))
    return [d1, *(float(value) for value in np.mean(rows, 0))]


def _steps(inverse: Tensor, ratio: float) -> Tensor:
    log = inverse.log()
    side, down = ((log.diff(dim=axis).abs() > math.log(ratio)).float() for axis in (3, 2))
    return F.pad(side, (0, 1)).maximum(F.pad(down, (0, 0, 0, 1)))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--scenes", type=Path)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--begin", type=Path, help="weights to begin from")
    parser.add_argument("--done", type=float, default=0.0, help="share of the training that is done already")
    parser.add_argument("--until", type=float, default=1.0, help="share of the training at whose end to stop")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between states that are saved")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stdout, format="%(message)s")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    begin = time.time()
    trainer = Trainer(torch.device(arguments.device), arguments.photos, arguments.batch, seed=int(1000 * arguments.done))
    if arguments.begin:
        state = torch.load(arguments.begin, weights_only=True)
        trainer.head.load_state_dict(state)
        trainer.average.load_state_dict(state)
    scenes = []
    for path in sorted(arguments.scenes.glob("*.npz")) if arguments.scenes else ():
        with np.load(path) as arrays:
            scenes.append({name: arrays[name] for name in ("rgb", "mask", "depth")})
    logger.info("ready after %.1f s: %d photographs, %d scenes", time.time() - begin, len(trainer.photos), len(scenes))
    begin = saved = time.time()
    sums: dict[str, Tensor] = {}
    seen = 0
    while True:
        spent = time.time() - begin
        share = max(spent / (60 * arguments.minutes), trainer.step / arguments.steps)
        over = share >= 1
        if over or time.time() - saved > arguments.every:
            saved = time.time()
            trainer.save(arguments.output)
            means = {name: round(float(value) / max(seen, 1), 4) for name, value in sums.items()}
            scores = trainer.evaluate(scenes) if scenes else {}
            logger.info("%s", json.dumps({"step": trainer.step, "seconds": round(spent), **means, **scores}))
            sums, seen = {}, 0
        if over:
            save_file(kept(trainer.average.state_dict()), arguments.output.with_suffix(".safetensors"), {"format": "pt"})
            return
        found = trainer.train(arguments.done + share * (arguments.until - arguments.done))
        for name, value in found.items():
            sums[name] = sums.get(name, 0) + torch.as_tensor(value)
        seen += 1


if __name__ == "__main__":
    main()
