"""How much sky is found where there is none, how much is missed where there is, and how far its border is from the truth.

    python benchmarks/sky.py [--side 1024] [--pictures OUT]

Landscapes are composed of a sky and of roofs, leaves or hair of known coverage, with depth of a quarter of the size whose edges are
soft, as networks'. `tells` masks the sky at that size, as some networks do. Rooms are a wall, a floor and a ball. `false` and `missed`
are shares of the image and of the sky; `alpha` is the mean absolute error in a band around the border, by the coarse share enlarged, and
by `sky_alpha`; `fog` is that of a fog's transmittance there, with the same depth as metres. Predicted in part, the sky lacks a round part
right over the near things, where nothing in the image says so; `line` is the largest change of the share over a hundredth of the side,
away from near things. The last table has the scenes of the first one, and darker and redder skies, with depth and mask by the bundled
network; `far` is the share of near things that its depth puts right before the sky or into it, and `mended` what is left of it after
`depth_before_sky`. `thing` is the share of a lantern, whose lamp is brighter and whose metal is darker than the sky, that is taken for sky.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

import depth_normal
from depth_normal.geometry.assumptions import filled_depth
from depth_normal.geometry.camera import DEFAULT_FOV, intrinsics_from_fov
from depth_normal.geometry.effects.fog import fog_of, fog_transmittance
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.regions.before_sky import depth_before_sky
from depth_normal.geometry.regions.sky import predicted_sky, sky_alpha
from depth_normal.options.effects import FogOptions
from depth_normal.utils import resize_map

SKIES = {
    "blue": ((0.25, 0.45, 0.8), (0.7, 0.8, 0.9)),
    "overcast": ((0.8, 0.82, 0.85), (0.93, 0.93, 0.94)),
    "dusk": ((0.35, 0.4, 0.6), (0.85, 0.6, 0.45)),
}
# only in the bundled network's table
DARKER_SKIES = {
    "deep blue": ((0.1, 0.2, 0.5), (0.3, 0.45, 0.7)),
    "fog": ((0.75, 0.75, 0.76), (0.62, 0.62, 0.63)),
    "sunset": ((0.45, 0.25, 0.3), (0.95, 0.6, 0.25)),
    "late dusk": ((0.08, 0.1, 0.25), (0.4, 0.35, 0.45)),
    "night": ((0.02, 0.02, 0.04), (0.08, 0.08, 0.14)),
}
WALLS = {
    "grey": (0.6, 0.6, 0.6),
    "cream": (0.8, 0.72, 0.6),
    "brick": (0.6, 0.35, 0.28),
    "pale": (0.72, 0.72, 0.7),
    "white": (0.85, 0.85, 0.84),
    "blue": (0.45, 0.58, 0.8),
}
SILHOUETTES = ("roofs", "leaves", "hair")
# Widths of lanterns as shares of the side, their lamps' colour, and the ground's upper edge.
LANTERNS, LAMP, _GROUND = (0.06, 0.1, 0.15), (1.0, 0.93, 0.75), 0.7
_SUPERSAMPLED, _NETWORK = 4, 4
_BAND = 1 / 50
# metres at disparity 1
_METRES = 5.0
FOG = FogOptions(density=0.1)
# Less than this share of the way from the sky to the nearest object is practically sky.
_HARDLY = 0.15


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=1024, help="of the images in pixels (default: %(default)s)")
    parser.add_argument("--pictures", type=Path, metavar="OUT", help="folder for image, coarse share, alpha and truth side by side")
    arguments = parser.parse_args()
    print(f"{'with sky':24}{'missed':>9}{'false':>9}{'alpha: coarse':>16}{'ours':>9}{'fog':>9}")
    errors = []
    for name, image, estimate, truth in landscapes(arguments.side):
        found = sky_alpha(image, estimate)
        coarse = resize_map(_coarse(truth), *image.shape[-2:])
        band = _band(truth)
        before, after = ((each - truth).abs()[band].mean().item() for each in (coarse, found))
        fogged = (_fog(image, estimate) - _true_fog(truth)).abs()[band].mean().item()
        errors.append((before, after, fogged))
        missed, false = ((truth - found).clamp(min=0).sum() / truth.sum(), (found - truth).clamp(min=0).mean())
        print(f"{name:24}{missed:9.1%}{false:9.1%}{before:16.3f}{after:9.3f}{fogged:9.3f}")
        if arguments.pictures:
            _save(arguments.pictures / f"{name}.png", image, coarse, found, truth)
    before, after, fogged = np.mean(errors, 0)
    print(f"{'mean':42}{before:16.3f}{after:9.3f}{fogged:9.3f}")
    print(f"{'predicted in part':42}{'line: coarse':>16}{'ours':>9}")
    lines = []
    for name, image, estimate, truth in half_predicted_skies(arguments.side):
        away = ~_band(truth) & (truth > 0.5)
        lines.append(
            [_line(each, away) for each in (predicted_sky(estimate.resized(*image.shape[-2:])).float(), sky_alpha(image, estimate))]
        )
        print(f"{name:42}{lines[-1][0]:16.2f}{lines[-1][1]:9.2f}")
    print(f"{'mean':42}{np.mean(lines, 0)[0]:16.2f}{np.mean(lines, 0)[1]:9.2f}")
    print(f"{'without sky':33}{'false':>9}")
    falses = []
    for name, image, estimate in rooms(arguments.side):
        falses.append(sky_alpha(image, estimate).mean().item())
        print(f"{name:33}{falses[-1]:9.1%}")
    print(f"{'all rooms':33}{np.mean(falses):9.1%}")
    print_bundled(arguments.side)


def print_bundled(side: int) -> None:
    """Prints the bundled network's missed sky, false sky in rooms, and the share of near objects as far as the sky."""
    tiny = depth_normal.load_model("tiny", "float32", "cpu")
    print(f"{'by tiny':24}{'missed':>9}{'false':>9}{'far':>9}{'mended':>9}")
    errors = []
    for silhouette in SILHOUETTES:
        truth = 1 - _coverage(silhouette, side)
        for sky, colours in (SKIES | DARKER_SKIES).items():
            image = _composed(truth, colours)
            estimate = tiny.estimate(image)
            found = sky_alpha(image, estimate)
            wrong = ((truth - found).clamp(min=0).sum() / truth.sum(), (found - truth).clamp(min=0).mean())
            errors.append([float(each) for each in (*wrong, *_far_things(image, estimate, truth))])
            print(f"{f'{silhouette}, {sky}':24}" + "".join(f"{each:9.1%}" for each in errors[-1]))
    print(f"{'mean':24}" + "".join(f"{each:9.1%}" for each in np.nanmean(errors, 0)))
    print(f"{'lantern, by tiny':24}{'missed':>9}{'thing':>9}")
    errors = []
    for width in LANTERNS:
        covered, lamp = _lantern(width, side)
        truth = 1 - covered
        thing = (truth < 0.5) & (torch.linspace(0, 1, side).view(-1, 1) < _GROUND - 0.02)
        for sky, colours in (SKIES | DARKER_SKIES).items():
            image = torch.lerp(_composed(truth, colours), torch.tensor(LAMP).view(1, 3, 1, 1), lamp)
            found = sky_alpha(image, tiny.estimate(image))
            if not bool(found.any()):
                continue
            errors.append([float((truth - found).clamp(min=0).sum() / truth.sum()), float(found[thing].mean())])
            print(f"{f'{width:g}, {sky}':24}" + "".join(f"{each:9.1%}" for each in errors[-1]))
    print(f"{'mean':24}" + "".join(f"{each:9.1%}" for each in np.mean(errors, 0)))
    for wall in WALLS:
        image, _ = _room(wall, side)
        print(f"{f'{wall} wall':33}{sky_alpha(image, tiny.estimate(image)).mean().item():9.1%}")


def _far_things(image: Tensor, estimate: Estimate, truth: Tensor) -> tuple[float, float]:
    """The share of near objects hardly nearer than the sky, plain and by `depth_before_sky`; NaN without predicted sky."""
    sized = estimate.resized(*image.shape[-2:])
    sky = predicted_sky(sized)
    if not bool(sky.any()):
        return math.nan, math.nan
    depth = filled_depth(sized)
    maps = [1 / depth, 1 / depth_before_sky(depth, image, sized)]
    far = maps[0][sky].mean()
    least = far + _HARDLY * (maps[0].amax() - far)
    before, after = (float((inverse < least)[truth < 0.5].float().mean()) for inverse in maps)
    return before, after


def landscapes(side: int) -> Iterator[tuple[str, Tensor, Estimate, Tensor]]:
    """Name, image (1, 3, H, W), estimate at a quarter of its size, and the true share of sky (1, 1, H, W)."""
    for silhouette in SILHOUETTES:
        truth = 1 - _coverage(silhouette, side)
        coarse = _coarse(truth)
        disparity = torch.lerp(_things_disparity(coarse.shape[-2]).expand_as(coarse), torch.full_like(coarse, 0.02), coarse)
        for sky, colours in SKIES.items():
            image = _composed(truth, colours)
            yield f"{silhouette}, {sky}, tells", image, Estimate(_told(disparity, coarse), Quantity.DISPARITY, mask=coarse < 0.5), truth
            yield f"{silhouette}, {sky}, not", image, Estimate(disparity, Quantity.DISPARITY), truth


def _fog(image: Tensor, estimate: Estimate) -> Tensor:
    """The transmittance of fog from a scene's disparity, interpreted in metres."""
    assert estimate.depth is not None
    metres = Estimate(_METRES / estimate.depth, Quantity.METRIC_DEPTH, mask=estimate.mask)
    return fog_of(metres.resized(*image.shape[-2:]), image, FOG)[0]


def _true_fog(truth: Tensor) -> Tensor:
    """The same from true depth: zero in the sky."""
    side = truth.shape[-1]
    metres = (_METRES / _things_disparity(side)).expand_as(truth)
    return (1 - truth) * fog_transmittance(metres, intrinsics_from_fov(DEFAULT_FOV, side, side), FOG.density)


def _things_disparity(rows: int) -> Tensor:
    """Disparity of the near objects of `landscapes`, by row: (1, 1, rows, 1)."""
    return 0.3 + 0.7 * torch.linspace(0, 1, rows).view(1, 1, -1, 1)


def half_predicted_skies(side: int) -> Iterator[tuple[str, Tensor, Estimate, Tensor]]:
    """As `landscapes`, for networks that miss a round part of the sky."""
    for name, image, estimate, truth in landscapes(side):
        if estimate.mask is None:
            continue
        rows, columns = (torch.linspace(0, 1, length) for length in estimate.mask.shape[-2:])
        missed_part = (rows.view(-1, 1) - 0.35).square() + (columns - 0.5).square() < 0.25**2
        assert estimate.depth is not None
        nearer = torch.where(missed_part, estimate.depth.clamp(min=0.1), estimate.depth)
        yield name.removesuffix(", tells"), image, Estimate(nearer, Quantity.DISPARITY, mask=estimate.mask | missed_part), truth


def _line(share: Tensor, where: Tensor) -> float:
    """The largest change of a share over a hundredth of the side, between positions."""
    step = max(1, share.shape[-1] // 100)
    changes = []
    for axis in (2, 3):
        length = share.shape[axis] - step
        both = where.narrow(axis, 0, length) & where.narrow(axis, step, length)
        changes.append(((share.narrow(axis, step, length) - share.narrow(axis, 0, length)).abs() * both).amax())
    return float(torch.stack(changes).amax())


def rooms(side: int) -> Iterator[tuple[str, Tensor, Estimate]]:
    """Name, image and estimate of each room: as disparity, in metres, and from a network that predicts sky and finds none."""
    for name in WALLS:
        image, disparity = _room(name, side)
        small = resize_map(disparity, side // _NETWORK, side // _NETWORK)
        yield f"{name} wall, disparity", image, Estimate(small, Quantity.DISPARITY)
        yield f"{name} wall, metres", image, Estimate(1 / small, Quantity.METRIC_DEPTH)
        yield f"{name} wall, told", image, Estimate(small, Quantity.DISPARITY, mask=torch.ones_like(small, dtype=torch.bool))


def _room(wall: str, side: int) -> tuple[Tensor, Tensor]:
    rows, columns = torch.meshgrid(torch.linspace(0, 1, side), torch.linspace(0, 1, side), indexing="ij")
    floor = ((rows - 0.55) / 0.45).clamp(min=0)
    ball = ((columns - 0.5) ** 2 + (rows - 0.6) ** 2) < 0.2**2
    disparity = torch.where(ball, 0.7, 0.25 + 0.6 * floor)[None, None]
    noise = 0.01 * torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    behind = torch.tensor(WALLS[wall]).view(3, 1, 1) * (1.05 - 0.15 * rows)
    ground = torch.tensor((0.4, 0.33, 0.27)).view(3, 1, 1) * (1 + 0 * rows)
    image = torch.where(ball, torch.tensor((0.5, 0.2, 0.15)).view(3, 1, 1), torch.where(floor > 0, ground, behind))
    return (image + noise).clamp(0, 1), disparity


def _coverage(kind: str, side: int) -> Tensor:
    """Coverage by near objects, (1, 1, side, side)."""
    random, full = np.random.default_rng(7), side * _SUPERSAMPLED
    drawn = np.zeros((full, full), np.uint8)
    cv2.rectangle(drawn, (0, int(0.6 * full)), (full, full), (255,), -1)
    if kind == "roofs":
        for left in np.linspace(-0.1, 0.9, 5):
            width, top = random.uniform(0.15, 0.3), random.uniform(0.25, 0.5)
            peak = np.array([(left, 0.6), (left, top + 0.08), (left + width / 2, top), (left + width, top + 0.08), (left + width, 0.6)])
            cv2.fillPoly(drawn, [(peak * full).astype(np.int32)], (255,))
    elif kind == "leaves":
        for _ in range(2500):
            x, y = random.normal(0.5, 0.18), 0.62 - abs(random.normal(0, 0.13))
            axes = (int(0.012 * full), int(0.005 * full))
            cv2.ellipse(drawn, (int(x * full), int(y * full)), axes, random.uniform(0, 180), 0, 360, (255,), -1)
    else:
        cv2.ellipse(drawn, (full // 2, int(0.6 * full)), (int(0.2 * full), int(0.3 * full)), 0, 0, 360, (255,), -1)
        for angle in random.uniform(np.pi, 2 * np.pi, 400):
            root = np.array((0.5 + 0.19 * np.cos(angle), 0.6 + 0.29 * np.sin(angle)))
            tip = root + random.uniform(0.005, 0.02) * np.array((np.cos(angle + random.normal(0, 0.5)), np.sin(angle)))
            cv2.line(drawn, _point(root * full), _point(tip * full), (255,), max(1, full // 1500))
    small = cv2.resize(drawn, (side, side), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(small)[None, None].float() / 255


def _lantern(width: float, side: int) -> tuple[Tensor, Tensor]:
    """Coverage by a lantern on its post and the ground, and by its lamp: (1, 1, side, side) each."""
    full, middle = side * _SUPERSAMPLED, 0.3
    drawn, lamp = np.zeros((2, full, full), np.uint8)
    cv2.rectangle(drawn, (0, int(_GROUND * full)), (full, full), (255,), -1)
    post = np.array([(middle + sign * 0.08 * width, row) for sign, row in ((-1, 0.3), (1, 0.3), (1, 0.75), (-1, 0.75))])
    half = np.array([(0.3, 0.31), (0.5, 0.2), (0.3, 0.16), (0.05, 0.1)]) * (width, 1)
    head = np.concatenate((half, half[::-1] * (-1, 1))) + np.array((middle, 0))
    cv2.fillPoly(drawn, [(each * full).astype(np.int32) for each in (post, head)], (255,))
    cv2.ellipse(lamp, (int(middle * full), int(0.235 * full)), (int(0.28 * width * full), int(0.05 * full)), 0, 0, 360, (255,), -1)
    small = (cv2.resize(each, (side, side), interpolation=cv2.INTER_AREA) for each in (drawn, lamp))
    covered, lit = (torch.from_numpy(each)[None, None].float() / 255 for each in small)
    return covered, lit


def _point(place: np.ndarray) -> tuple[int, int]:
    return int(place[0]), int(place[1])


def _composed(truth: Tensor, colours: tuple[tuple[float, float, float], tuple[float, float, float]]) -> Tensor:
    """The photograph: dark textured objects before a sky that is paler towards the horizon, blended by coverage."""
    side = truth.shape[-1]
    top, horizon = (torch.tensor(colour).view(1, 3, 1, 1) for colour in colours)
    behind = torch.lerp(top, horizon, torch.linspace(0, 1, side).view(1, 1, -1, 1))
    generator = torch.Generator().manual_seed(3)
    grain = resize_map(torch.rand(1, 1, side // 4, side // 4, generator=generator), side, side) - 0.5
    things = torch.tensor((0.25, 0.2, 0.14)).view(1, 3, 1, 1) + 0.2 * grain
    noise = 0.01 * torch.randn(1, 3, side, side, generator=generator)
    return (torch.lerp(things.expand_as(noise), behind.expand_as(noise), truth) + noise).clamp(0, 1)


def _coarse(truth: Tensor) -> Tensor:
    """The share of sky as from a network: at its size, blurred, without thin objects."""
    small = resize_map(truth, truth.shape[-2] // _NETWORK, truth.shape[-1] // _NETWORK)
    return torch.from_numpy(cv2.GaussianBlur(small[0, 0].numpy(), (0, 0), 1.5))[None, None]


def _told(disparity: Tensor, coarse: Tensor) -> Tensor:
    """Disparity whose sky is one value, the smallest of the map."""
    return torch.where(coarse < 0.5, disparity, disparity.amin())


def _band(truth: Tensor) -> Tensor:
    radius = max(1, round(truth.shape[-1] * _BAND / 2))
    square = np.ones((2 * radius + 1,) * 2, np.uint8)
    plane = truth[0, 0].numpy()
    return torch.from_numpy(cv2.dilate(plane, square) - cv2.erode(plane, square) > 0.5)[None, None]


def _save(path: Path, image: Tensor, *shares: Tensor) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    row = torch.cat((image, *(each.expand_as(image) for each in shares)), 3)[0].movedim(0, -1)
    cv2.imwrite(str(path), (row * 255).round().byte().numpy()[..., ::-1])


if __name__ == "__main__":
    main()
