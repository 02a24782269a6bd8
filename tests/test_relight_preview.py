"""The light that the page shows on a node is the light of `relight`, whatever the number of lamps. In a real Chromium."""

import json
from pathlib import Path

import torch

from depth_normal.geometry.camera import intrinsics_from_fov
from depth_normal.geometry.conventions import unit_normals
from depth_normal.geometry.effects.lights import Light, light_direction
from depth_normal.geometry.effects.relight import relight
from depth_normal.geometry.effects.shadows import half_thickness

ROOT = Path(__file__).resolve().parent.parent
HEIGHT, WIDTH = 120, 160
LOOKS = {"ambient": 0.1, "above": [1, 1, 1], "below": [1, 1, 1], "specular": 0, "shininess": 32, "exposure": 0, "rolled": True}
# The fullest code of a thickness, and what it means: as geometry/files/packed_maps.py has them.
CODES, THICKEST = 63, 0.15


def scene():
    """A box before a wall whose normals lean, and a grey image."""
    depth = torch.full((1, 1, HEIGHT, WIDTH), 2.0)
    depth[..., 40:80, 60:100] = 1.7
    columns = torch.linspace(-0.4, 0.4, WIDTH).expand(1, 1, HEIGHT, WIDTH)
    normals = unit_normals(torch.cat((columns, columns.flip(-1) / 2, torch.ones_like(columns)), 1))
    return torch.full((1, 3, HEIGHT, WIDTH), 0.6), normals, depth, intrinsics_from_fov(50.0, HEIGHT, WIDTH)


def lamps(count):
    """Low suns from all around and point lights, each of a colour of its own."""
    suns = [Light(light_direction(40.0 * i, 30.0), colour=(0.2, 0.1 * (i % 3), 0.05 * (i % 5)), shadow=1.0) for i in range(count)]
    points = [Light((0.3 - 0.1 * i, 0.2, -1.2), is_point=True, colour=(0.05, 0.1, 0.05), shadow=0.8) for i in range(count)]
    return [(points if i % 3 == 2 else suns)[i] for i in range(count)]


def in_the_page(run_driver, tmp_path, shots):
    """(shots, 3, H, W) in [0, 1]."""
    image, normals, depth, intrinsics = scene()
    opaque = torch.ones(1, 1, HEIGHT, WIDTH)
    thickness = half_thickness(1 / depth, intrinsics[:, 0, 0])
    bytes_of = {
        "image": (torch.cat((image, opaque), 1) * 255).round(),
        "normals": (torch.cat((normals * 0.5 + 0.5, opaque), 1) * 255).round(),
    }
    maps = {
        "width": WIDTH,
        "height": HEIGHT,
        **{name: values.movedim(1, -1).flatten().int().tolist() for name, values in bytes_of.items()},
        "depth": depth.flatten().tolist(),
        "bits": [1] * (HEIGHT * WIDTH),
        "thickness": (thickness / THICKEST * CODES).round().int().clamp(max=CODES).flatten().tolist(),
        "intrinsics": [float(intrinsics[0, i, j]) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2))],
    }
    sent = [[{**vars(lamp), "isPoint": lamp.is_point} for lamp in shot] for shot in shots]
    (tmp_path / "scene.json").write_text(json.dumps({"maps": maps, "looks": LOOKS, "shots": sent}))
    seen = json.loads(run_driver(ROOT / "tests" / "lamps.mjs", tmp_path / "scene.json"))
    assert seen["errors"] == []
    return torch.tensor(seen["shots"]).view(-1, HEIGHT, WIDTH, 4)[..., :3].movedim(-1, 1) / 255


def test_all_lamps_light_the_preview(run_driver, tmp_path):
    """Of 4, 9, 64 and again 2 lamps: shadows of more lamps than one pass marches, and of fewer after more."""
    image, normals, depth, intrinsics = scene()
    shots = [lamps(count) for count in (4, 9, 64, 2)]
    shots[2] = [Light(lamp.position, lamp.is_point, lamp.colour, 0.15, shadow=lamp.shadow) for lamp in lamps(9) * 7 + lamps(1)]
    for shown, lights in zip(in_the_page(run_driver, tmp_path, shots), shots, strict=True):
        expected = relight(image, normals, lights, ambient=0.1, depth=depth, intrinsics=intrinsics)[0]
        off = 255 * (shown - expected).abs().mean()
        assert off < 1.5, f"{len(lights)} lamps: {off:.2f} of 255"
