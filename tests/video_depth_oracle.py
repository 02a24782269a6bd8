"""Video Depth Anything once more, written from its paper and its files' keys and apart from the pack: the whole video at once, no chunks.

The transformer is the pack's, which other tests hold to transformers' class; all else is here. Names are those of the published files.
"""

import runpy
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from depth_normal.annotators.networks.vit import VisionTransformer

RANDOM_WEIGHTS = Path(__file__).with_name("random_weights.py")

LENGTH, STEP, OVERLAP, KEYS = 32, 22, 10, [0, 12, *range(24, 32)]


class Attention(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(width, width, bias=False) for _ in range(3))
        self.to_out = nn.ModuleList([nn.Linear(width, width), nn.Identity()])
        table = torch.zeros(1, 32, width)
        for time in range(32):
            for i in range(0, width, 2):
                angle = time / 10000 ** (i / width)
                table[0, time, i], table[0, time, i + 1] = np.sin(angle), np.cos(angle)
        self.pos_encoder = nn.Module()
        self.pos_encoder.register_buffer("pe", table)

    def forward(self, x):  # (pixels, time, width)
        x = x + self.pos_encoder.pe[:, : x.shape[1]]
        heads = [layer(x).unflatten(2, (8, -1)) for layer in (self.to_q, self.to_k, self.to_v)]
        scores = torch.einsum("pthc,pshc->phts", heads[0], heads[1]) / heads[0].shape[-1] ** 0.5
        return self.to_out[0](torch.einsum("phts,pshc->pthc", scores.softmax(-1), heads[2]).flatten(2))


class Gated(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x):
        x = self.proj(x)
        half = x.shape[-1] // 2
        return x[..., :half] * F.gelu(x[..., half:])


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention_blocks = nn.ModuleList([Attention(width), Attention(width)])
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.ff, self.ff_norm = nn.Module(), nn.LayerNorm(width)
        self.ff.net = nn.ModuleList([Gated(width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x):
        for attention, norm in zip(self.attention_blocks, self.norms, strict=True):
            x = x + attention(norm(x))
        return x + self.ff.net[2](self.ff.net[0](self.ff_norm(x)))


class Motion(nn.Module):
    def __init__(self, width):
        super().__init__()
        inside = self.temporal_transformer = nn.Module()
        inside.norm = nn.GroupNorm(32, width, eps=1e-6)
        inside.proj_in, inside.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        inside.transformer_blocks = nn.ModuleList([Block(width)])

    def forward(self, x):  # (time, width, h, w) of one video
        inside = self.temporal_transformer
        pixels = torch.cat([inside.norm(frame[None]) for frame in x]).flatten(2).permute(2, 0, 1)
        pixels = inside.proj_out(inside.transformer_blocks[0](inside.proj_in(pixels)))
        return x + pixels.permute(1, 2, 0).reshape(x.shape)


class Unit(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(width, width, 3, 1, 1), nn.Conv2d(width, width, 3, 1, 1)

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Refine(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.resConfUnit1, self.resConfUnit2, self.out_conv = Unit(width), Unit(width), nn.Conv2d(width, width, 1)


def larger(x, size):
    return F.interpolate(x, size=size, mode="bilinear", align_corners=True)


class Network(nn.Module):
    """(frames, 3, H, W), normalised, of one video of at most 32 frames to (frames, 1, H, W), not negative."""

    def __init__(self, vit, dpt):
        super().__init__()
        self.pretrained = VisionTransformer(vit)
        self.pretrained.mask_token = nn.Parameter(torch.zeros(1, vit.width))  # unused
        head = self.head = nn.Module()
        a, b, c, d = dpt.channels
        width = dpt.features
        head.projects = nn.ModuleList([nn.Conv2d(vit.width, each, 1) for each in dpt.channels])
        head.resize_layers = nn.ModuleList(
            [nn.ConvTranspose2d(a, a, 4, 4), nn.ConvTranspose2d(b, b, 2, 2), nn.Identity(), nn.Conv2d(d, d, 3, 2, 1)]
        )
        head.scratch = nn.Module()
        for level, each in enumerate(dpt.channels, 1):
            head.scratch.add_module(f"layer{level}_rn", nn.Conv2d(each, width, 3, 1, 1, bias=False))
            head.scratch.add_module(f"refinenet{level}", Refine(width))
        head.scratch.output_conv1 = nn.Conv2d(width, width // 2, 3, 1, 1)
        head.scratch.output_conv2 = nn.Sequential(
            nn.Conv2d(width // 2, 32, 3, 1, 1), nn.ReLU(), nn.Conv2d(32, 1, 1), nn.ReLU(), nn.Identity()
        )
        head.motion_modules = nn.ModuleList([Motion(c), Motion(d), Motion(width), Motion(width)])

    def forward(self, x):
        head, scratch, motion = self.head, self.head.scratch, self.head.motion_modules
        maps = [resize(project(tap)) for tap, project, resize in zip(self.pretrained(x)[0], head.projects, head.resize_layers, strict=True)]
        maps[2], maps[3] = motion[0](maps[2]), motion[1](maps[3])
        maps = [scratch.get_submodule(f"layer{level}_rn")(each) for level, each in enumerate(maps, 1)]
        fourth, third, second, first = (scratch.get_submodule(f"refinenet{level}") for level in (4, 3, 2, 1))
        path = motion[2](fourth.out_conv(larger(fourth.resConfUnit2(maps[3]), maps[2].shape[-2:])))
        path = third.resConfUnit2(path + third.resConfUnit1(maps[2]))
        path = motion[3](third.out_conv(larger(path, maps[1].shape[-2:])))
        path = second.out_conv(larger(second.resConfUnit2(path + second.resConfUnit1(maps[1])), maps[0].shape[-2:]))
        path = first.resConfUnit2(path + first.resConfUnit1(maps[0]))
        path = first.out_conv(larger(path, [2 * side for side in maps[0].shape[-2:]]))
        return scratch.output_conv2(larger(scratch.output_conv1(path), x.shape[-2:]))


def video(infer, frames, metric):
    """The published scheme on a whole video (frames, ...), by hand.

    Args:
        infer: A window of 32 frames to its depth, (32, 1, h, w).
        frames: All frames.
        metric: Whether windows only fade, and are not brought to each other's scale and shift.

    Returns:
        Depth (frames, 1, h, w), float64.
    """
    total = len(frames)
    padding = (STEP - total % STEP) % STEP + LENGTH - STEP
    padded = torch.cat([frames, frames[-1:].expand(padding, *frames.shape[1:])])
    windows, before = [], None
    for start in range(0, total, STEP):
        window = padded[start : start + LENGTH].clone()
        if before is not None:
            window[:OVERLAP] = before[KEYS]
        windows.append(infer(window).double())
        before = window
    done = list(windows[0])
    anchors = [windows[0][0], windows[0][12]]
    for window in windows[1:]:
        scale, shift = (1.0, 0.0) if metric else np.polyfit(window[:2].flatten().numpy(), torch.stack(anchors).flatten().numpy(), 1)
        window = (window * scale + shift).clamp(min=0) if not metric else window
        done[-8:] = [old * (1 - i / 7) + new * (i / 7) for i, (old, new) in enumerate(zip(done[-8:], window[2:10], strict=True))]
        done += list(window[10:])
        anchors[1] = window[12]
    return torch.stack(done[:total])


def randomise(network, seed=0):
    """Random weights whose depth is well above what the last ReLU cuts."""
    runpy.run_path(str(RANDOM_WEIGHTS))["randomise"](network, seed).head.scratch.output_conv2[2].bias.fill_(4.0)
    return network
