"""Video Depth Anything: the published scheme for a whole video at once, written apart from the pack, and files of random weights."""

import re
import runpy
from pathlib import Path

import numpy as np
import torch

from depth_normal.annotators.networks.depth_anything import VideoDepthAnything

RANDOM_WEIGHTS = Path(__file__).with_name("random_weights.py")

LENGTH, STEP, OVERLAP, KEYS = 32, 22, 10, [0, 12, *range(24, 32)]
BLOCK = r"head.motion_modules.\1.temporal_transformer.transformer_blocks.0."
PUBLISHED_NAMES = (
    (r"^depth_head\.", "head."),
    (r"^motion_modules\.(\d)\.attention\.(\d)\.norm\.", BLOCK + r"norms.\2."),
    (r"^motion_modules\.(\d)\.attention\.(\d)\.to_out\.", BLOCK + r"attention_blocks.\2.to_out.0."),
    (r"^motion_modules\.(\d)\.attention\.(\d)\.", BLOCK + r"attention_blocks.\2."),
    (r"^motion_modules\.(\d)\.perceptron\.norm\.", BLOCK + "ff_norm."),
    (r"^motion_modules\.(\d)\.perceptron\.expand\.", BLOCK + "ff.net.0.proj."),
    (r"^motion_modules\.(\d)\.perceptron\.contract\.", BLOCK + "ff.net.2."),
    (r"^motion_modules\.(\d)\.", r"head.motion_modules.\1.temporal_transformer."),
)


def random_state(config, seed=0):
    """Random weights as a published file names them, with what it holds beside; the depth is well above what the last ReLU cuts."""
    network = runpy.run_path(str(RANDOM_WEIGHTS))["randomise"](VideoDepthAnything(config.vit, config.dpt), seed)
    network.depth_head.scratch.output_conv2[2].bias.fill_(4.0)
    state = {"pretrained.mask_token": torch.zeros(1, config.vit.width)}
    for name, value in network.state_dict().items():
        for pattern, replacement in PUBLISHED_NAMES:
            name = re.sub(pattern, replacement, name)
        state[name] = value
        if name.endswith("to_q.weight"):
            state[name.replace("to_q.weight", "pos_encoder.pe")] = torch.zeros(1, LENGTH, value.shape[1])
    return state


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
