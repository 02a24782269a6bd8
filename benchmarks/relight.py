"""How near a relit image comes to what Blender renders under the same lamp, with true depth and normals.

    python benchmarks/relight.py [DIR] [--pictures OUT]

Land under a low sun is traced here (`traced_land.py`): `lit` is the share of the land behind other land, seen from the sun, that our
shadows leave in the light, `dark` the share of the sunlit land that they hide, `wrong` both together, of all land that faces the sun, and
`soft` the same with depth as soft as a network's. Land that only things outside the image can hide is left out.

People, balls and posts (`traced_views.py`) under a lamp in the room, a low sun from the left, one from behind on the right, and a window on
the left, relit without shadows: `rims` is the mean difference from what is traced, in steps of 255 of sRGB, within 4 pixels of silhouettes,
with depth and normals as soft as a network's whose edges waver by up to 4 pixels; `all` that of all pixels; `true` that at silhouettes with
true depth and normals; `tiny` that at silhouettes with what tiny estimates, of distant lamps alone, which need no scale; `blurred` is
`rims` of a photo that is out of focus by 4 pixels, within twice as many.

DIR: scenes that `relight_scenes.py` rendered. Each scene_<seed> is evenly lit, and relit without ambient light. `apart`: mean
difference from Blender's image, in steps of 255 of sRGB; `bare`: the same without any shadows. `shadow`: how well what the lamp does
not reach agrees, intersection over union, among surfaces that face it; `tiny`: `apart` with the shadows of the depth that tiny estimates,
on Blender's light without shadows. Each relief_<seed>, dented and glossy (--relief), is relit with
its highlights, without shadows: `apart` with the rendered normals, `tiny` with what tiny estimates of its photograph.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import traced_land
import traced_views
from stereo import blurred, near_silhouettes, wavering
from torch import Tensor

from depth_normal import load_model
from depth_normal.geometry.effects.lights import LightPlan, light_direction
from depth_normal.geometry.effects.lit_scene import lit_scene
from depth_normal.geometry.effects.relight import Light, relight
from depth_normal.geometry.effects.shadows import cast_shadow
from depth_normal.geometry.estimate import Estimate, Quantity
from depth_normal.geometry.images.srgb import linear_to_srgb, srgb_to_linear

# Low suns behind the land, and one beside it: degrees to the left of straight ahead, and above the horizon.
SUNS = {"ahead": (15, 6), "behind left": (50, 8), "left": (90, 8), "higher": (20, 25)}
# A lamp in a traced room: position in OpenGL axes and metres, intensity, ambient light, and how far predicted edges waver, in pixels.
LAMP, INTENSITY, AMBIENT, WAVER = (-0.4, 0.2, -1.5), 2.0, 0.1, 4.0
BLUR = 4.0  # standard deviation, in pixels, of an out-of-focus photo
# Distant lamps in the room: degrees as in `LightPlan`, and the diameter at distance 1.
ROOM_SUNS = {"sun": (180, 12, 0.0), "behind": (0, -15, 0.0), "window": (180, 12, 1.0)}


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="DIR", nargs="?")
    parser.add_argument("--width", type=int, default=480, help="of the land, in pixels (default: %(default)s)")
    parser.add_argument("--pictures", type=Path, metavar="OUT", help="folder for the images: Blender's, and each way's")
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.glob("*.npz")) if arguments.folder else []
    if arguments.folder and not paths:
        parser.error(f"no .npz in {arguments.folder}; render some with relight_scenes.py")
    print(f"{'':20}{'lit':>8}{'dark':>8}{'wrong':>8}{'soft':>8}")
    for name, land in sunlit_land(arguments.width):
        shares, image = land_shares(land)
        print(f"land {name:15}" + "".join(f"{each:8.3f}" for each in shares), flush=True)
        if arguments.pictures:
            write_row(arguments.pictures / f"land_{name.replace(' ', '_')}.png", [land["truth"], image])
    print(f"\n{'':20}{'rims':>8}{'all':>8}{'true':>8}{'tiny':>8}{'blurred':>8}")
    for name in ("heads", "balls", "posts"):
        room = lit_room(getattr(traced_views, name), arguments.width)
        for lamp in ("lamp", *ROOM_SUNS):
            errors, image = room_errors(room, lamp)
            print(f"{lamp:7}{name:13}" + "".join(f"{each:8.2f}" for each in errors), flush=True)
            if arguments.pictures:
                write_row(arguments.pictures / f"{lamp}_{name}.png", [room[lamp], image])
    scenes = [each for each in paths if not each.stem.startswith("relief")]
    if scenes:
        print(f"\n{'':20}{'apart':>9}{'bare':>7}{'shadow':>8}{'s':>8}{'tiny':>8}")
    for path in scenes:
        for name, lamp, scene in lamps_of(path):
            figures, image = judged(lamp, scene)
            row = f"{figures[0]:9.2f}{figures[1]:7.2f}{figures[2]:8.3f}{figures[3]:8.2f}{of_tiny(lamp, scene):8.2f}"
            print(f"{path.stem} {name:10}{row}", flush=True)
            if arguments.pictures:
                write_row(arguments.pictures / f"{path.stem}_{name}.png", [scene["truth"], image])
    reliefs = [each for each in paths if each.stem.startswith("relief")]
    if reliefs:
        print(f"\n{'':20}{'apart':>9}{'tiny':>7}")
    for path in reliefs:
        for name, rendered, estimated, *images in glossy_rows(path):
            print(f"{path.stem} {name:10}{rendered:9.2f}{estimated:7.2f}", flush=True)
            if arguments.pictures:
                write_row(arguments.pictures / f"{path.stem}_{name}.png", images)


def sunlit_land(width: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """The land under each of `SUNS`: its name and ground truth maps (1, C, H, W)."""
    height = width * 9 // 16
    depth = traced_land.depths(width, height)
    normals, is_land = traced_land.normals(depth), np.isfinite(depth)
    far = np.where(is_land, depth, depth[is_land].max()).astype(np.float32)
    for name, (aside, up) in SUNS.items():
        aside, up = math.radians(aside), math.radians(up)
        sun = (-math.sin(aside) * math.cos(up), math.sin(up), -math.cos(aside) * math.cos(up))
        hidden, unknown = traced_land.shaded(depth, sun)
        light = (normals @ np.array(sun, np.float32)).clip(0)
        truth = np.where(is_land, 0.1 + (~hidden & ~unknown) * light, 1)
        yield (
            name,
            {
                "sun": sun,
                "depth": planar(far),
                "light": planar(light),
                "land": planar(is_land),
                "hidden": planar(hidden) > 0,
                "judged": planar(is_land & ~unknown & (light > 0.02)) > 0,
                "intrinsics": torch.from_numpy(traced_land.intrinsics(width, height))[None],
                "truth": planar(truth).expand(-1, 3, -1, -1),
            },
        )


def land_shares(land: dict[str, Any]) -> tuple[tuple[float, ...], Tensor]:
    """Errors of our shadows, see the module, and our image in linear light."""
    lamp, hidden, judged = Light(land["sun"]), land["hidden"], land["judged"]
    shadow = cast_shadow(land["depth"], land["intrinsics"], lamp)
    ours = shadow > 0.5
    # networks predict depth from a smaller image
    height, width = hidden.shape[-2:]
    small = F.interpolate(1 / land["depth"], scale_factor=0.25, mode="bilinear", antialias=True)
    soft = 1 / F.interpolate(small, (height, width), mode="bicubic").clamp(min=float(small.min()))
    known = Estimate(soft, Quantity.METRIC_DEPTH, intrinsics=land["intrinsics"])
    scene = lit_scene(torch.full((1, 3, height, width), 0.5), known, ())
    of_soft = cast_shadow(scene.depth, scene.intrinsics, lamp, doubt=scene.doubt) > 0.5
    pairs = ((hidden & ~ours, hidden), (ours & ~hidden, ~hidden), (ours != hidden, judged), (of_soft != hidden, judged))
    shares = tuple(float((wrong & judged).sum() / (where & judged).sum()) for wrong, where in pairs)
    image = torch.where(land["land"] > 0, 0.1 + (1 - shadow) * land["light"], 1.0).expand(-1, 3, -1, -1)
    return shares, image


def lit_room(scene: Any, width: int, rays: int = 3) -> dict[str, Tensor]:
    """A traced room (1, C, H, W): its photo in linear light, the truth under each lamp by name, and true depth and normals."""
    height, eye = width * 9 // 16, np.zeros(3)
    things, shape = scene(np.random.default_rng(1)), (height, width)
    offsets = (np.arange(rays) + 0.5) / rays - 0.5
    images = dict.fromkeys(("photo", "lamp", *ROOM_SUNS), np.zeros((height * width, 3)))

    def seen(across: float = 0.0, down: float = 0.0) -> tuple[np.ndarray, ...]:
        way = traced_views.directions(width, height, across, down)
        colour, depth = traced_views.shoot(things, eye, way)
        return way, colour, depth, traced_views.seen_normals(things, eye, way, depth)

    for down in offsets:
        for across in offsets:
            way, colour, depth, normals = seen(across, down)
            base = srgb_to_linear(torch.from_numpy(colour).T[None, :, None])[0, :, 0].T.numpy() / rays**2
            to_lamp = np.array(LAMP) * (1, -1, -1) - way * depth[:, None]
            distance = np.linalg.norm(to_lamp, axis=1)
            received = {"lamp": ((normals * to_lamp).sum(1) / distance).clip(0) * INTENSITY / distance**2}
            for name, (azimuth, elevation, size) in ROOM_SUNS.items():
                direction = np.array(light_direction(azimuth, elevation)) * (1, -1, -1)
                received[name] = received_from(normals, direction, size) * INTENSITY
            images["photo"] = images["photo"] + base
            for name, light in received.items():
                images[name] = images[name] + base * (AMBIENT + light)[:, None]
    _, _, depth, normals = seen()
    return {
        **{name: planar(image.reshape(*shape, 3)) for name, image in images.items()},
        "depth": planar(depth.reshape(shape)),
        "normals": planar((normals * (1, -1, -1)).reshape(*shape, 3)),
        "intrinsics": torch.from_numpy(traced_views.intrinsics(width, height))[None],
    }


def received_from(normals: np.ndarray, direction: np.ndarray, size: float, count: int = 64) -> np.ndarray:
    """Light that surfaces (N, 3) receive from a lamp of this diameter at distance 1, relative to one that they face."""
    if size == 0:
        return (normals @ direction).clip(0)
    aside = np.cross(direction, (0.0, 1.0, 0.0))
    aside /= np.linalg.norm(aside)
    axes = np.stack((aside, np.cross(direction, aside)))
    index = np.arange(count) + 0.5
    places = (np.sqrt(index / count) * np.stack((np.cos(2.4 * index), np.sin(2.4 * index))) * size / 2).T @ axes + direction
    # Inverse-square falloff, and the disk's cosine emission.
    weights = np.linalg.norm(places, axis=1) ** -3.0
    ways = places / np.linalg.norm(places, axis=1, keepdims=True)
    received = sum((normals @ way).clip(0) * weight for way, weight in zip(ways, weights, strict=True))
    return np.asarray(received) / sum((ways @ direction) * weights)


def room_errors(room: dict[str, Tensor], lamp: str) -> tuple[tuple[float, ...], Tensor]:
    """Our errors in a traced room under a lamp, see the module, and our image from soft depth in linear light."""
    photo, truth = (linear_to_srgb(room[name].clamp(0, 1)) for name in ("photo", lamp))
    soft = 1 / wavering(1 / room["depth"], WAVER), F.normalize(wavering(room["normals"], WAVER))
    known = [
        Estimate(depth, Quantity.METRIC_DEPTH, normals, intrinsics=room["intrinsics"])
        for depth, normals in (soft, (room["depth"], room["normals"]))
    ]
    rims = near_silhouettes(room["depth"], round(WAVER))
    of_soft, of_true = (lit_by(room, photo, each, lamp) for each in known)
    of_focus, truth_of_focus = (linear_to_srgb(blurred(room[name], BLUR).clamp(0, 1)) for name in ("photo", lamp))
    of_blurred = apart(lit_by(room, of_focus, known[0], lamp), truth_of_focus, near_silhouettes(room["depth"], round(2 * BLUR)))
    of_tiny = lit_by(room, photo, load_model("tiny").estimate(photo), lamp) if lamp in ROOM_SUNS else None
    found = apart(of_soft, truth, rims), apart(of_soft, truth, torch.ones_like(rims)), apart(of_true, truth, rims)
    return (*found, math.nan if of_tiny is None else apart(of_tiny, truth, rims), of_blurred), srgb_to_linear(of_soft)


def lit_by(room: dict[str, Tensor], photo: Tensor, known: Any, lamp: str) -> Tensor:
    """Relights a photo of a traced room with an estimate."""
    if lamp in ROOM_SUNS:
        azimuth, elevation, size = ROOM_SUNS[lamp]
        plan = LightPlan(azimuth=azimuth, elevation=elevation, intensity=INTENSITY, size=size)
    else:
        (x, y, z), (height, width) = LAMP, photo.shape[-2:]
        focal, column, row = (float(room["intrinsics"][0, i, j]) for i, j in ((0, 0), (0, 2), (1, 2)))
        place = {"x": (x / -z * focal + column + 0.5) / width, "y": (-y / -z * focal + row + 0.5) / height}
        unit = float((lit_scene(photo, known, ()).depth / room["depth"]).median())  # the near end is at 1
        plan = LightPlan("point", **place, depth=-z * unit, intensity=INTENSITY * unit**2)
    scene = lit_scene(photo, known, (plan,))
    options = {"ambient": AMBIENT, "rolled_off": False, "depth": scene.depth, "intrinsics": scene.intrinsics}
    return relight(photo, scene.normals, scene.light, **options)


def lamps_of(path: Path) -> Iterator[tuple[str, Light, dict[str, Tensor]]]:
    """Each lamp of a scene: its name, the lamp, and the maps (1, C, H, W)."""
    with np.load(path) as held:
        arrays = {name: held[name] for name in held.files if name != "lamps"}
        lamps = json.loads(str(held["lamps"]))
    maps = {name: planar(array) for name, array in arrays.items() if name != "intrinsics"}
    for name, values in lamps.items():
        shared = {each: maps[each] for each in ("even", "normals", "depth")}
        scene = {**shared, "intrinsics": torch.from_numpy(arrays["intrinsics"])[None], "truth": maps[name], "bare": maps[f"{name}_bare"]}
        yield name, light_of(values), scene


def judged(lamp: Light, scene: dict[str, Tensor]) -> tuple[tuple[float, ...], Tensor]:
    """Our errors: with shadows, without, the shadow's agreement, seconds; and our image in linear light."""
    valid = scene["depth"] > 0
    depth = torch.where(valid, scene["depth"], scene["depth"].amax())
    common = {"ambient": 0.0, "depth": depth, "intrinsics": scene["intrinsics"]}
    even = linear_to_srgb(scene["even"].clamp(0, 1))
    start = time.perf_counter()
    lit = relight(even, scene["normals"], lamp, shadow=1.0, **common)
    seconds = time.perf_counter() - start
    bare = relight(even, scene["normals"], lamp, **common)
    truth, truth_bare = (linear_to_srgb(scene[each].clamp(0, 1)) for each in ("truth", "bare"))
    facing = valid & (scene["bare"].amax(1, keepdim=True) > 0.1 * scene["even"].amax(1, keepdim=True))
    dark = scene["truth"].mean(1, keepdim=True) < 0.5 * scene["bare"].mean(1, keepdim=True)
    ours = cast_shadow(depth, scene["intrinsics"], lamp) > 0.5
    agreement = (dark & ours & facing).sum() / ((dark | ours) & facing).sum().clamp(min=1)
    return (apart(lit, truth, valid), apart(bare, truth_bare, valid), float(agreement), seconds), srgb_to_linear(lit)


def of_tiny(lamp: Light, scene: dict[str, Tensor]) -> float:
    """The error of Blender's light with shadows from tiny's depth, scaled to metres."""
    photo, valid = linear_to_srgb(scene["even"].clamp(0, 1)), scene["depth"] > 0
    estimated = lit_scene(photo, load_model("tiny").estimate(photo), ())
    metres = estimated.depth * (scene["depth"] / estimated.depth)[valid].median()
    hidden = cast_shadow(metres, scene["intrinsics"], lamp, doubt=estimated.doubt)
    found, truth = (linear_to_srgb(each.clamp(0, 1)) for each in (scene["bare"] * (1 - hidden), scene["truth"]))
    return apart(found, truth, valid)


def glossy_rows(path: Path) -> Iterator[tuple[str, float, float, Tensor, Tensor]]:
    """For each lamp of a glossy scene: its name, the differences from Blender with rendered and with tiny's normals, and both images."""
    with np.load(path) as held:
        maps = {name: planar(held[name]) for name in held.files if name not in ("lamps", "looks", "intrinsics")}
        lamps, looks = (json.loads(str(held[name])) for name in ("lamps", "looks"))
        camera = {"intrinsics": torch.from_numpy(held["intrinsics"])[None]}
    valid = maps["depth"] > 0
    camera["depth"] = torch.where(valid, maps["depth"], maps["depth"].amax())
    photo = linear_to_srgb(maps["photo"].clamp(0, 1))
    scene = lit_scene(photo, load_model("tiny").estimate(photo), ())
    for name, values in lamps.items():
        lamp, options = light_of(values), {"ambient": 0.0, **looks, **camera}
        truth = linear_to_srgb(maps[name].clamp(0, 1))
        rendered = relight(photo, maps["normals"], lamp, **options)
        estimated = relight(photo, scene.normals, lamp, **options, glossy=scene.glossy, relief=scene.relief)
        yield name, apart(rendered, truth, valid), apart(estimated, truth, valid), maps[name], srgb_to_linear(estimated)


def light_of(values: dict[str, Any]) -> Light:
    """The lamp of a file's values."""
    return Light(**{**values, "position": tuple(values["position"])})


def apart(found: Tensor, truth: Tensor, where: Tensor) -> float:
    """Mean difference of sRGB images, of 255 levels."""
    return float((found - truth).abs().mean(1, keepdim=True)[where].mean() * 255)


def planar(array: np.ndarray) -> Tensor:
    """(H, W) or (H, W, 3) as (1, C, H, W)."""
    values = torch.from_numpy(array).float()
    return (values[None] if values.ndim == 2 else values.movedim(-1, 0))[None].contiguous()


def write_row(path: Path, images: list[Tensor]) -> None:
    """Images in linear light, side by side."""
    import cv2

    path.parent.mkdir(parents=True, exist_ok=True)
    row = torch.cat([linear_to_srgb(each.clamp(0, 1)) for each in images], 3)
    cv2.imwrite(str(path), (row[0].movedim(0, -1) * 255).round().byte().numpy()[..., ::-1])


if __name__ == "__main__":
    main()
