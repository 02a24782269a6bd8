"""Scenes for the training of tiny's sharp head: ray-traced in batches by torch, on a GPU some hundred a second, with exact edges.

Rooms, table tops and places under the open sky, of boxes, ellipsoids, cones and cylinders from hairs to trunks, and cards with holes
(leaves, fences, fur, torn paper); painted with noise, patterns and parts of photographs; lit, with shadows, haze and blur.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BOXES, BALLS, POSTS, CARDS = 10, 12, 16, 10
THINGS = BOXES + BALLS + POSTS + CARDS
FAR = 1e4
# Kinds of places: camera height, minimum and maximum distance of objects, minimum and maximum size.
TABLE, ROOM, OUTDOORS = range(3)
PLACES = torch.tensor([[0.5, 0.45, 2.0, 0.03, 0.22], [1.5, 1.2, 6.0, 0.06, 0.8], [1.7, 2.0, 40.0, 0.15, 3.0]])


@dataclass(frozen=True)
class Views:
    """A batch of images (B, 3, H, W) in [0, 1], inverse depth (B, 1, H, W), 0 in the sky, and normals (B, 3, H, W), OpenGL axes."""

    images: Tensor
    inverse: Tensor
    normals: Tensor


class Draw:
    """Random numbers on a device."""

    def __init__(self, device: torch.device, seed: int) -> None:
        self.device = device
        self.generator = torch.Generator(device).manual_seed(seed)
        self.numbers = random.Random(seed)

    def number(self) -> float:
        """A random number in [0, 1), without synchronising the device."""
        return self.numbers.random()

    def uniform(self, low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(shape, generator=self.generator, device=self.device)

    def normal(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator, device=self.device)

    def chance(self, share: float, *shape: int) -> Tensor:
        return torch.rand(shape, generator=self.generator, device=self.device) < share

    def choice(self, count: int, *shape: int) -> Tensor:
        return torch.randint(count, shape, generator=self.generator, device=self.device)


@dataclass(frozen=True)
class Scene:
    """The objects of a batch of scenes.

    Attributes:
        centre, size: (B, K, 3), of the objects: boxes, balls, posts, cards. Sizes are half extents along the axes.
        turn: (B, K, 3, 3), columns are the objects' axes.
        taper: (B, K), how much narrower posts are at the top.
        cut: (B, K, 8), the shapes of cards.
        planes: (B, 5), distances of floor (0), back, left, right and top; FAR = none.
        outdoors: (B,) bool.
        eye: (B, 3); view: (B, 3, 3), columns are the camera's right, up and forward.
        focal: (B,), in halves of the longer side.
    """

    centre: Tensor
    size: Tensor
    turn: Tensor
    taper: Tensor
    cut: Tensor
    planes: Tensor
    outdoors: Tensor
    eye: Tensor
    view: Tensor
    focal: Tensor


def rotation(axis: int, angle: Tensor) -> Tensor:
    """(..., 3, 3) rotation matrices about an axis."""
    cos, sin, zero, one = angle.cos(), angle.sin(), torch.zeros_like(angle), torch.ones_like(angle)
    rows = {
        0: (one, zero, zero, zero, cos, -sin, zero, sin, cos),
        1: (cos, zero, sin, zero, one, zero, -sin, zero, cos),
        2: (cos, -sin, zero, sin, cos, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def arranged(draw: Draw, count: int) -> Scene:
    """Random scenes."""
    kind = draw.choice(3, count)
    place = PLACES.to(draw.device)[kind]
    height, near, far, least, most = (each[:, None] for each in place.unbind(1))
    height = height * draw.uniform(0.6, 1.5, count, 1)
    focal = draw.uniform(0.9, 2.4, count)
    shape = (count, THINGS)
    # Single objects and groups; groups are nearer to the centre.
    groups = 6
    away = near * (far / near) ** draw.uniform(0, 1, count, groups)
    aside = away * draw.uniform(-0.8, 0.8, count, groups) / focal[:, None]
    member = draw.choice(groups, *shape)
    size = least * (most / least) ** draw.uniform(0, 1, *shape)
    spread = draw.uniform(0.3, 2.5, *shape) * size.clamp(min=0.5 * most)
    z = away.gather(1, member) + spread * draw.normal(*shape)
    x = aside.gather(1, member) + spread * draw.normal(*shape)
    alone = draw.chance(0.4, *shape)
    z = torch.where(alone, near * (far / near) ** draw.uniform(0, 1, *shape), z)
    x = torch.where(alone, z * draw.uniform(-1, 1, *shape) / focal[:, None], x)
    # outdoors, distant objects are larger
    size = torch.where((kind == OUTDOORS)[:, None], size * (z / near).clamp(1, 6) ** 0.7, size)
    sizes = size[..., None] * draw.uniform(0.25, 1, *shape, 3)
    # Posts: long, mostly thin, some as thin as hairs.
    posts = slice(BOXES + BALLS, BOXES + BALLS + POSTS)
    thin = size[:, posts] * 10 ** draw.uniform(-1.6, -0.2, count, POSTS)
    tall = size[:, posts] * draw.uniform(0.5, 2.5, count, POSTS)
    thin = torch.where(draw.chance(0.25, count, POSTS), tall * draw.uniform(0.3, 1, count, POSTS), thin)
    sizes[:, posts] = torch.stack((thin, tall, thin), -1)
    sizes[:, -CARDS:] = sizes[:, -CARDS:] * 1.5
    # About half of the balls are spheres, the rest are stretched.
    balls = slice(BOXES, BOXES + BALLS)
    round_ = draw.chance(0.5, count, BALLS)[..., None]
    sizes[:, balls] = torch.where(round_, sizes[:, balls].mean(-1, keepdim=True), sizes[:, balls])
    # The first boxes are tables or houses, on or before which others stand.
    sizes[:, :2] = sizes[:, :2].clamp(min=0.4 * most[..., None])
    base = torch.zeros(shape, device=draw.device)
    z = torch.maximum(z, near * 0.8 + sizes[..., 2].clamp(max=2 * near))
    on = draw.chance(0.3, *shape)
    on[:, :2] = False
    which = draw.choice(2, *shape)
    inside = draw.uniform(-0.8, 0.8, *shape), draw.uniform(-0.8, 0.8, *shape)
    top = 2 * sizes[:, :2, 1].gather(1, which)
    x = torch.where(on, x[:, :2].gather(1, which) + inside[0] * sizes[:, :2, 0].gather(1, which), x)
    z = torch.where(on, z[:, :2].gather(1, which) + inside[1] * sizes[:, :2, 2].gather(1, which), z)
    base = torch.where(on, top, base)
    yaw = rotation(1, draw.uniform(-math.pi, math.pi, *shape))
    yaw[:, :2] = rotation(1, draw.uniform(-0.3, 0.3, count, 2))
    yaw[:, -CARDS:] = rotation(1, draw.uniform(-0.9, 0.9, count, CARDS))
    lean = draw.chance(0.35, *shape) & ~on
    lean[:, :2] = False
    tilt = torch.where(lean, draw.uniform(-1.5, 1.5, *shape), torch.zeros(shape, device=draw.device))
    turn = yaw @ rotation(2, tilt)
    up = (turn[..., 1, :].abs() * sizes).sum(-1)
    hanging = draw.chance(0.12, *shape) & ~on
    y = base + up * draw.uniform(0.7, 1, *shape).where(draw.chance(0.2, *shape), torch.ones(shape, device=draw.device))
    y = torch.where(hanging, height * draw.uniform(0.5, 1.8, *shape), y)
    centre = torch.stack((x, y, z), -1)
    _people(draw, kind, centre, sizes, turn, near, height)
    # Unused objects are placed behind the camera.
    used = draw.uniform(0.3, 1, count, 1)
    centre[..., 2] = torch.where(draw.uniform(0, 1, *shape) < used, centre[..., 2], -FAR)
    indoors = kind != OUTDOORS
    widest = far * draw.uniform(0.35, 0.9, count, 4)
    back = far[:, 0] * draw.uniform(0.5, 1.15, count)
    planes = torch.stack(
        (torch.zeros(count, device=draw.device), back, widest[:, 1], widest[:, 2], height[:, 0] * draw.uniform(1.4, 2.4, count)), 1
    )
    absent = draw.chance(0.3, count, 5) | ~indoors[:, None]
    absent[:, 0] = False
    absent[:, 1] = ~indoors & draw.chance(0.85, count)
    absent[:, 4] |= (kind == TABLE) | draw.chance(0.4, count)
    planes = torch.where(absent, FAR, planes)
    pitch = draw.uniform(-0.1, 0.25, count) + torch.where(kind == TABLE, draw.uniform(0.0, 0.5, count), 0)
    view = rotation(1, draw.uniform(-0.25, 0.25, count)) @ rotation(0, pitch) @ rotation(2, 0.04 * draw.normal(count))
    eye = torch.cat((torch.zeros(count, 1, device=draw.device), height, torch.zeros(count, 1, device=draw.device)), 1)
    cut = draw.uniform(0, 1, *shape, 8)
    taper = draw.uniform(-0.2, 1, *shape).clamp(min=0) * draw.chance(0.5, *shape)
    return Scene(centre, sizes, turn, taper, cut, planes, ~indoors, eye, view, focal)


def _people(draw: Draw, kind: Tensor, centre: Tensor, sizes: Tensor, turn: Tensor, near: Tensor, height: Tensor) -> None:
    """Makes up to two people a scene, of three balls and five posts each, in place."""
    count = len(kind)
    # object, offset across and up, half width, half height, half depth; for a person one unit tall
    parts = [
        (BOXES, 0.0, 0.925, 0.05, 0.075, 0.06),
        (BOXES + 1, 0.0, 0.69, 0.12, 0.17, 0.075),
        (BOXES + 2, 0.0, 0.52, 0.1, 0.09, 0.075),
        (BOXES + BALLS, -0.055, 0.25, 0.045, 0.25, 0.05),
        (BOXES + BALLS + 1, 0.055, 0.25, 0.045, 0.25, 0.05),
        (BOXES + BALLS + 2, -0.15, 0.62, 0.03, 0.17, 0.03),
        (BOXES + BALLS + 3, 0.15, 0.62, 0.03, 0.17, 0.03),
        (BOXES + BALLS + 4, 0.0, 0.84, 0.03, 0.04, 0.03),
    ]
    for person in range(2):
        here = draw.chance(0.5, count, 1)[..., 0]
        tall = height[:, 0] * draw.uniform(0.8, 1.25, count)
        z = near[:, 0] * (1 + draw.uniform(0, 1, count) ** 2 * 3)
        x = z * draw.uniform(-0.4, 0.4, count)
        lower = torch.where(draw.chance(0.4, count), draw.uniform(0.0, 0.3, count), 0) * tall  # sits, or stands below the visible floor
        for index, across, up, *half in parts:
            slot = index + person * (3 if index < BOXES + BALLS else 5)
            swing = 0.25 * draw.normal(count) * (index >= BOXES + BALLS)
            there = torch.stack((x + (across + 0.1 * swing) * tall, up * tall - lower, z + 0.03 * draw.normal(count) * tall), 1)
            fat = draw.uniform(0.85, 1.2, count, 3) * torch.tensor(half, device=draw.device) * tall[:, None]
            centre[:, slot] = torch.where(here[:, None], there, centre[:, slot])
            sizes[:, slot] = torch.where(here[:, None], fat, sizes[:, slot])
            turn[:, slot] = torch.where(here[:, None, None], rotation(2, swing), turn[:, slot])


def rays(scene: Scene, height: int, width: int, step: int = 1) -> Tensor:
    """(B, 3, h, w) world rays of depth 1 through the centres of every `step`-th pixel."""
    device = scene.focal.device
    y = (torch.arange(step // 2, height, step, device=device) + 0.5 - height / 2) / (max(height, width) / 2)
    x = (torch.arange(step // 2, width, step, device=device) + 0.5 - width / 2) / (max(height, width) / 2)
    grid = torch.stack((x.expand(len(y), -1), -y[:, None].expand(-1, len(x))))[None] / scene.focal[:, None, None, None]
    local = torch.cat((grid, torch.ones_like(grid[:, :1])), 1)
    return torch.einsum("bij,bjhw->bihw", scene.view, local)


def _slabs(o: Tensor, d: Tensor) -> Tensor:
    """Where rays enter the box [-1, 1]^3; FAR = nowhere. `o` and `d` are (3, B, h, w)."""
    inverse = 1 / torch.where(d.abs() < 1e-9, 1e-9, d)
    low, high = (-1 - o) * inverse, (1 - o) * inverse
    enter = torch.minimum(low, high).amax(0)
    leave = torch.maximum(low, high).amin(0)
    return torch.where((enter < leave) & (enter > 1e-3), enter, FAR)


def _ball(o: Tensor, d: Tensor) -> Tensor:
    a, b, c = (d * d).sum(0), (o * d).sum(0), (o * o).sum(0) - 1
    root = b * b - a * c
    t = (-b - root.clamp(min=0).sqrt()) / a
    return torch.where((root > 0) & (t > 1e-3), t, FAR)


def _post(o: Tensor, d: Tensor, taper: Tensor) -> Tensor:
    """A truncated cone of radius 1 below and 1 - taper above, with both caps."""
    k = taper / 2
    radius = 1 - k * (o[1] + 1)
    a = d[0] * d[0] + d[2] * d[2] - (k * d[1]) ** 2
    a = torch.where(a.abs() < 1e-9, 1e-9, a)
    b = o[0] * d[0] + o[2] * d[2] + k * d[1] * radius
    c = o[0] * o[0] + o[2] * o[2] - radius * radius
    root = b * b - a * c
    t = (-b - root.clamp(min=0).sqrt() * a.sign()) / a
    fits = (root > 0) & (t > 1e-3) & ((o[1] + t * d[1]).abs() < 1)
    side = torch.where(fits, t, FAR)
    end = (-d[1].sign() - o[1]) / torch.where(d[1].abs() < 1e-9, 1e-9, d[1])
    at = (o[0] + end * d[0]) ** 2 + (o[2] + end * d[2]) ** 2
    widest = torch.where(d[1] < 0, 1 - taper, 1.0)
    return torch.where((at < widest * widest) & (end > 1e-3), end.minimum(side), side)


def _card(o: Tensor, d: Tensor, cut: Tensor) -> Tensor:
    """A square sheet cut to a shape: wavy discs, leaves with holes, bars, or fur along the top."""
    t = -o[2] / torch.where(d[2].abs() < 1e-9, 1e-9, d[2])
    u, v = o[0] + t * d[0], o[1] + t * d[1]
    a = cut[:, :, None, None].unbind(1)
    r, angle = (u * u + v * v).sqrt(), torch.atan2(v, u)
    waves = (
        0.55
        + 0.25 * a[1] * torch.sin((angle + 6 * a[2]) * (2 + 5 * a[3]).floor())
        + 0.15 * a[4] * torch.sin(angle * (5 + 12 * a[5]).floor())
    )
    holes = torch.sin(u * (6 + 30 * a[1]) + 9 * a[2] + 2 * torch.sin(v * 7 * a[5] + u)) + torch.sin(
        v * (6 + 30 * a[3]) + 9 * a[4] + 2 * torch.sin(u * 7 * a[6])
    )
    bars = torch.sin((u + v * (a[4] - 0.5) * 0.8) * (10 + 60 * a[1]))
    fur = 0.55 + 0.3 * torch.sin(u * (40 + 160 * a[1]) + v * 6 * (a[2] - 0.5)).abs() * (0.5 + 0.5 * torch.sin(17 * u + 9 * a[3]))
    inside = torch.where(
        a[0] < 0.35,
        r < waves,
        torch.where(a[0] < 0.6, (r < 0.9) & (holes > 0.5 * a[7]), torch.where(a[0] < 0.75, bars > 0.9 * a[7] - 0.1, v < fur)),
    )
    return torch.where(inside & (u.abs() < 1) & (v.abs() < 1) & (t > 1e-3), t, FAR)


def _walls(scene: Scene, o: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    """Distances and indices of the first planes that rays (3, B, h, w) from o hit."""
    axes, signs = (1, 2, 0, 0, 1), (1, 1, -1, 1, 1)
    best = torch.full_like(d[0], FAR)
    number = torch.full_like(best, -1)
    for index, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        place = (sign * scene.planes[:, index])[:, None, None]
        towards = d[axis] < 0 if index == 0 else d[axis] * sign > 0
        t = (place - o[axis]) / torch.where(d[axis].abs() < 1e-9, 1e-9, d[axis])
        hit = towards & (t > 1e-3) & (t < best) & (place.abs() < FAR)
        best, number = torch.where(hit, t, best), torch.where(hit, float(index), number)
    return best, number


def nearest(scene: Scene, origin: Tensor, direction: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (B, h, w) along rays (B, 3, h, w), and what they hit: an object's index, THINGS + a plane's index, or -1."""
    world_o, world_d = origin.movedim(1, 0), direction.movedim(1, 0)
    best, plane = _walls(scene, world_o, world_d)
    number = torch.where(plane >= 0, plane + THINGS, plane)
    for index in range(THINGS):
        scale = (scene.turn[:, index] / scene.size[:, index, None, :]).transpose(1, 2)  # world to local
        t = _meets(index, scale, scene.centre[:, index], scene.taper[:, index], scene.cut[:, index], origin, direction)
        closer = t < best
        best, number = torch.where(closer, t, best), torch.where(closer, float(index), number)
    return best, number


def _meets(index: int, scale: Tensor, centre: Tensor, taper: Tensor, cut: Tensor, origin: Tensor, direction: Tensor) -> Tensor:
    """Distances along rays to an object; FAR = missed."""
    away = origin - centre[:, :, None, None]
    m = scale[..., None, None]
    d = torch.stack([m[:, i, 0] * direction[:, 0] + m[:, i, 1] * direction[:, 1] + m[:, i, 2] * direction[:, 2] for i in range(3)])
    o = torch.stack([m[:, i, 0] * away[:, 0] + m[:, i, 1] * away[:, 1] + m[:, i, 2] * away[:, 2] for i in range(3)])
    if index < BOXES:
        return _slabs(o, d)
    if index < BOXES + BALLS:
        return _ball(o, d)
    if index < BOXES + BALLS + POSTS:
        return _post(o, d, taper[:, None, None])
    return _card(o, d, cut)


def surfaces(scene: Scene, origin: Tensor, direction: Tensor, t: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
    """World normals (B, 3, h, w) towards the camera, and positions (B, 3, h, w): in the object's axes, of planes in the world's."""
    index = number.long()
    batch = torch.arange(len(index), device=index.device)[:, None, None]
    thing = index.clamp(0, THINGS - 1)
    turn = scene.turn[batch, thing]  # (B, h, w, 3, 3)
    size = scene.size[batch, thing]
    centre = scene.centre[batch, thing]
    taper = scene.taper[batch, thing]
    place = (origin + t[:, None] * direction).movedim(1, -1)
    local = torch.einsum("bhwij,bhwi->bhwj", turn, place - centre)
    unit = local / size
    x, y, z = unit.unbind(-1)
    zero = torch.zeros_like(x)
    most = unit.abs().argmax(-1, keepdim=True)
    box = torch.zeros_like(unit).scatter(-1, most, unit.gather(-1, most).sign())
    at_end = (y.abs() > 0.999)[..., None]
    post = torch.where(at_end, torch.stack((zero, y.sign(), zero), -1), torch.stack((x, taper / 2 * (1 - taper / 2 * (y + 1)), z), -1))
    card = torch.stack((zero, zero, torch.ones_like(x)), -1)
    kind = thing[..., None]
    normal = torch.where(kind < BOXES, box, torch.where(kind < BOXES + BALLS, unit, torch.where(kind < BOXES + BALLS + POSTS, post, card)))
    normal = torch.einsum("bhwij,bhwj->bhwi", turn, normal / size)
    planes = torch.tensor([[0.0, 1, 0], [0, 0, -1], [1, 0, 0], [-1, 0, 0], [0, -1, 0]], device=t.device)
    is_plane = (index >= THINGS)[..., None]
    normal = torch.where(is_plane, planes[(index - THINGS).clamp(0, 4)], normal)
    normal = F.normalize(normal, dim=-1).movedim(-1, 1)
    normal = normal * -(normal * direction).sum(1, keepdim=True).sign()
    return normal, torch.where(is_plane, place, local).movedim(-1, 1)


def render(draw: Draw, count: int, height: int, width: int, textures: Tensor) -> Views:
    """Renders random views.

    Args:
        draw: The random numbers.
        count: Number of views.
        height, width: In pixels, multiples of 4.
        textures: (T, 3, S, S) in [0, 1], in any encoding.
    """
    scene = arranged(draw, count)
    direction = rays(scene, height, width)
    origin = scene.eye[:, :, None, None].expand_as(direction)
    t, number = nearest(scene, origin, direction)
    sky = number < 0
    normal, local = surfaces(scene, origin, direction, t, number)
    place = origin + t[:, None] * direction
    colour = _painted(draw, textures, number, normal, local, t, scene)
    # light: the sun or a lamp, with shadows at half size
    sun = F.normalize(draw.normal(count, 3) + torch.tensor([0.0, 1.2, -0.6], device=draw.device), dim=1)
    sun[:, 1] = sun[:, 1].abs() + 0.15
    sun = F.normalize(sun, dim=1)[:, :, None, None]
    begin = (place + 2e-3 * t[:, None] * normal)[..., ::2, ::2]
    blocked, by = nearest(scene, begin, sun.expand_as(begin).contiguous())
    # walls do not block the sun: then it is a lamp in front of them
    shadow = F.interpolate(((blocked < FAR / 2) & (by < THINGS)).float()[:, None], (height, width), mode="bilinear", align_corners=False)
    shadow = shadow * draw.uniform(0.2, 1, count, 1, 1, 1)
    lambert = (normal * sun).sum(1, keepdim=True).clamp(min=0)
    ambient = draw.uniform(0.2, 0.9, count, 1, 1, 1)
    warm = 1 + 0.15 * draw.normal(count, 3, 1, 1)
    light = ambient * (0.7 + 0.3 * normal[:, 1:2]) + (1.2 - ambient) * lambert * (1 - shadow) * warm
    half = F.normalize(sun - F.normalize(direction, dim=1), dim=1)
    gloss = (normal * half).sum(1, keepdim=True).clamp(min=0) ** 30 * (1 - shadow) * draw.uniform(-0.5, 0.6, count, 1, 1, 1).clamp(min=0)
    # corners are darker
    contact = 1 - 0.5 * draw.uniform(0, 1, count, 1, 1, 1) * torch.exp(
        -place[:, 1:2].clamp(min=0) / (0.08 * scene.eye[:, 1, None, None, None])
    )
    colour = colour * light * torch.where(number[:, None] < THINGS, contact, 1) + gloss
    heaven = _sky(draw, direction, textures)
    haze = 1 - torch.exp(
        -t[:, None]
        / scene.planes.new_tensor(60.0)
        * draw.uniform(-1, 2.5, count, 1, 1, 1).clamp(min=0)
        * scene.outdoors[:, None, None, None]
    )
    colour = colour.lerp(heaven.mean((2, 3), keepdim=True).expand_as(colour), haze)
    colour = torch.where(sky[:, None], heaven, colour)
    colour = (colour * torch.exp(0.35 * draw.normal(count, 1, 1, 1))).clamp(0, 1)
    inverse = torch.where(sky, 0, 1 / t.clamp(max=FAR))[:, None]
    eyes = torch.einsum("bji,bjhw->bihw", scene.view, normal) * normal.new_tensor([1, 1, -1]).view(1, 3, 1, 1)
    return Views(colour, inverse, torch.where(sky[:, None], eyes.new_tensor([0, 0, 1]).view(1, 3, 1, 1), eyes))


def looked_up(textures: Tensor, which: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Samples texture colours (B, 3, h, w) with mirrored repeat; coordinates are in texture sizes, `which` (B, h, w) are indices."""
    size = textures.shape[-1]

    def fold(x: Tensor) -> Tensor:
        return ((x % 2) - 1).abs() * (size - 1.001)

    y, x = fold(v), fold(u)
    y0, x0 = y.floor(), x.floor()
    fy, fx = (y - y0)[..., None], (x - x0)[..., None]
    flat = textures.movedim(1, -1).reshape(-1, 3)
    base = which * size * size + y0.long() * size + x0.long()
    top = flat[base].lerp(flat[base + 1], fx)
    low = flat[base + size].lerp(flat[base + size + 1], fx)
    return top.lerp(low, fy).movedim(-1, 1)


def _painted(draw: Draw, textures: Tensor, number: Tensor, normal: Tensor, local: Tensor, t: Tensor, scene: Scene) -> Tensor:
    """Unlit surface colours."""
    count, kinds = len(number), THINGS + 5
    index = number.clamp(min=0).long()
    batch = torch.arange(count, device=index.device)[:, None, None]

    def of(values: Tensor) -> Tensor:
        return values[batch, index]

    which = of(draw.choice(len(textures), count, kinds))
    # a texture spans from a tenth of the camera's height to three times the height
    span = scene.eye[:, 1, None] * 10 ** draw.uniform(-1.0, 0.5, count, kinds)
    finer = of(1 / span)
    across = normal.abs()
    first = torch.where(across[:, 0] > torch.maximum(across[:, 1], across[:, 2]), local[:, 2], local[:, 0])
    second = torch.where(across[:, 1] > torch.maximum(across[:, 0], across[:, 2]), local[:, 2], local[:, 1])
    u, v = first * finer + of(draw.uniform(0, 2, count, kinds)), second * finer + of(draw.uniform(0, 2, count, kinds))
    paint = looked_up(textures, which, u, v)
    mean = textures.mean((2, 3))[which].movedim(-1, 1)
    fine = (t * finer * textures.shape[-1] / (400.0 * scene.focal[:, None, None])).clamp(1, 8)[:, None]  # texels per pixel
    paint = mean.lerp(paint, 1 / fine)
    # Many surfaces are plain or nearly so, in any colour; some are partly of another.
    plain = of(torch.where(draw.chance(0.5, count, kinds), draw.uniform(0, 0.25, count, kinds), draw.uniform(0.3, 1, count, kinds)))
    tint = draw.uniform(0.05, 0.95, count, kinds, 1) + 0.15 * draw.normal(count, kinds, 3)
    tint = torch.where(draw.chance(0.25, count, kinds, 1), tint[:, draw.choice(kinds, kinds)], tint).clamp(0.02, 1)
    return (
        of(tint).movedim(-1, 1) * (1 - plain[:, None])
        + paint * plain[:, None]
        + 0.5 * plain[:, None] * (1 - plain[:, None]) * (paint - mean)
    ).clamp(0, 1)


def _sky(draw: Draw, direction: Tensor, textures: Tensor) -> Tensor:
    count = len(direction)
    up = F.normalize(direction, dim=1)[:, 1:2].clamp(-0.2, 1)
    pale = draw.uniform(0.55, 1, count, 1, 1, 1) + 0.08 * draw.normal(count, 3, 1, 1)
    blue = draw.uniform(0.15, 0.8, count, 1, 1, 1) * torch.tensor([0.55, 0.8, 1.25], device=up.device).view(1, 3, 1, 1)
    grey = draw.chance(0.4, count, 1, 1, 1)
    blue = torch.where(grey, pale * draw.uniform(0.75, 1.05, count, 1, 1, 1), blue)
    sky = pale.lerp(blue, (up * draw.uniform(1, 4, count, 1, 1, 1)).clamp(0, 1))
    which = draw.choice(len(textures), count)[:, None, None].expand(direction.shape[0], *direction.shape[2:])
    ahead = 1 / up[:, 0].clamp(min=0.08)
    clouds = looked_up(textures, which, 0.3 * direction[:, 0] * ahead, 0.3 * ahead).mean(1, keepdim=True)
    soft = F.interpolate(F.avg_pool2d(clouds, 8), clouds.shape[-2:], mode="bilinear", align_corners=False)
    return (sky + draw.uniform(-0.3, 0.5, count, 1, 1, 1).clamp(min=0) * (soft - 0.4).clamp(min=0)).clamp(0, 1)


def patterns(draw: Draw, count: int, size: int) -> Tensor:
    """(count, 3, size, size): multi-scale noise, stripes, checks, bricks and spots, each in two colours."""
    noise = torch.zeros(count, 1, size, size, device=draw.device)
    for scale in (2, 4, 8, 16, 32, 64):
        layer = F.interpolate(draw.normal(count, 1, max(2, size // scale), max(2, size // scale)), (size, size), mode="bicubic")
        noise = noise + layer * scale ** draw.uniform(-0.2, 1.0, count, 1, 1, 1)
    noise = (noise - noise.mean((2, 3), keepdim=True)) / noise.std((2, 3), keepdim=True)
    grid = torch.arange(size, device=draw.device) / size
    x, y = grid[None, None, None, :], grid[None, None, :, None]
    often = 2 ** draw.uniform(1, 5, count, 2, 1, 1)
    a, b = (x * often[:, :1] * 2 * math.pi).sin(), (y * often[:, 1:] * 2 * math.pi).sin()
    kind = draw.choice(6, count, 1, 1, 1)
    bricks = ((y * often[:, 1:]) % 1 < 0.12) | ((x * often[:, :1] + ((y * often[:, 1:]).floor() % 2) / 2) % 1 < 0.08)
    pattern = torch.where(
        kind == 0,
        a.sign() * b.sign(),
        torch.where(kind == 1, (a + 0.3 * noise).sign(), torch.where(kind == 2, 2 * bricks.float() - 1, noise)),
    )
    pattern = torch.where(kind == 3, ((a * b) > 0.4).float() * 2 - 1, pattern) * 0.5 + 0.12 * noise
    first, second = draw.uniform(0, 1, count, 3, 1, 1), draw.uniform(0, 1, count, 3, 1, 1)
    return first.lerp(second, (pattern * draw.uniform(0.2, 1, count, 1, 1, 1) + 0.5).clamp(0, 1)).clamp(0, 1)
