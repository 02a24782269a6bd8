"""Metric3D v2: the network against a transcription, the frame, metres by the canonical camera, normals, and files that are not its own."""

import functools
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from depth_normal.annotators import metric3d
from depth_normal.annotators.networks.configs import Metric3dConfig, VitConfig
from depth_normal.annotators.networks.metric3d import Metric3d, Metric3dOutput
from depth_normal.annotators.registry import MODELS
from depth_normal.annotators.specs.base import CheckpointError, ModelSpec, WeightFile
from depth_normal.geometry.camera import DEFAULT_FOV, depth_to_points, fov_from_intrinsics, intrinsics_from_fov
from depth_normal.geometry.estimate import Axes, Estimate, Quantity
from depth_normal.geometry.surfaces.derive import with_normals
from tests import random_weights as RANDOM
from tests.balls import CENTRE, FACING, ball_before_wall
from tests.pretend import Says
from tests.random_weights import smooth_images

SMALL = Metric3dConfig(VitConfig(16, 2, 2, (1,), grid=3, registers=4), (6, 8, 16, 16), (6, 8, 16, 16), 8, 2)
GIANT = replace(SMALL, vit=VitConfig(24, 4, 3, (0, 1, 2, 3), swiglu=True, grid=3, registers=4), levels=(6, 8, 24, 24), path=(6, 8, 24, 24))
BOTH = pytest.mark.parametrize("config", [SMALL, GIANT], ids=["one block", "four blocks"])


def spec(config=SMALL, size=56):
    file = WeightFile("metric3d_tiny.pth")
    metres = Quantity.METRIC_DEPTH
    return ModelSpec("metric3d-tiny", "metric3d", (file,), "BSD", metres, Axes.OPENCV, multiple_of=28, default_size=size, config=config)


_state_of = functools.cache(lambda config: RANDOM.state_of(Metric3d(config)))


def tiny_state(config=SMALL):
    return dict(_state_of(config))


def annotator(config=SMALL, dtype=torch.float32):
    return metric3d.Metric3dAnnotator.build(spec(config), {"network": tiny_state(config)}, dtype)


def transcribed(state, tokens, rows, iterations):
    """The decoder by the authors' description, written apart from the product: depth, confidence, normals, concentration."""

    def conv(name, x, **more):
        weight = state[f"decoder.{name}.weight"]
        return F.conv2d(x, weight, state[f"decoder.{name}.bias"], padding=weight.shape[-1] // 2, **more)

    def level(index):
        name, patches = f"decoder.token2feature.read_{index}.", tokens[index][:, 5:]
        told = tokens[index][:, :5].reshape(len(patches), 1, -1) @ state[f"{name}readoper.project_learn.weight"].T
        read = patches @ state[f"{name}readoper.project_patch.weight"].T + state[f"{name}readoper.project_patch.bias"]
        return F.gelu(read + told).transpose(1, 2).reshape(len(patches), -1, rows, patches.shape[1] // rows)

    def block(name, x):
        """The ReLU works in place: what follows sees x rectified, and so does the shortcut."""
        x.clamp_(min=0)
        return x + conv(f"{name}.conv2", conv(f"{name}.conv1", x).clamp(min=0))

    def up(x, size):
        return F.interpolate(x, size=size, mode="bilinear", align_corners=True)

    def half(x):
        return F.avg_pool2d(x, 3, 2, 1)

    def layer_norm(name, x):
        weight, bias = state[f"decoder.{name}.weight"], state[f"decoder.{name}.bias"]
        centred = x - x.mean(1, keepdim=True)
        return centred / (centred.square().mean(1, keepdim=True) + 1e-5).sqrt() * weight[:, None, None] + bias[:, None, None]

    def residual(name, x):
        y = layer_norm(f"{name}.norm1", conv(f"{name}.conv1", x)).clamp(min=0)
        y = layer_norm(f"{name}.norm2", conv(f"{name}.conv2", y)).clamp(min=0)
        return (layer_norm(f"{name}.downsample.1", conv(f"{name}.downsample.0", x)) + y).clamp(min=0)

    def certain(normals, kappa):
        return normals / normals.square().sum(1, keepdim=True).sqrt(), F.elu(kappa) + 1.01

    def gru(name, h, context, x):
        z = torch.sigmoid(conv(f"update_block.{name}.convz", torch.cat((h, x), 1)) + context[0])
        r = torch.sigmoid(conv(f"update_block.{name}.convr", torch.cat((h, x), 1)) + context[1])
        q = torch.tanh(conv(f"update_block.{name}.convq", torch.cat((r * h, x), 1)) + context[2])
        return h + z * (q - h)

    x0, x1, x2, x3 = (level(index) for index in range(4))
    quarter = [rows * 7 // 2, x0.shape[-1] * 7 // 2]
    x0 = conv("token2feature.read_0.sample.0", F.interpolate(x0, size=quarter, mode="nearest"))
    sample = "decoder.token2feature.read_1.sample"
    x1 = F.conv_transpose2d(x1, state[f"{sample}.weight"], state[f"{sample}.bias"], stride=2)

    path = conv("decoder_mono.upconv_3.out_conv", block("decoder_mono.upconv_3.way_trunk", x3))
    path = block("decoder_mono.upconv_2.way_trunk", path + block("decoder_mono.upconv_2.way_branch", x2))
    path = conv("decoder_mono.upconv_2.out_conv", up(path, x1.shape[2:]))
    path = block("decoder_mono.upconv_1.way_trunk", path + block("decoder_mono.upconv_1.way_branch", x1))
    path = conv("decoder_mono.upconv_1.out_conv", up(path, quarter))

    bins = torch.tensor([math.exp(math.log(0.1) + index / 255 * math.log(200 / 0.1)) for index in range(256)])
    logits = conv("depth_regressor.2", conv("depth_regressor.0", path[:, :-2]).clamp(min=0))
    depth = torch.einsum("bkhw,k->bhw", logits.softmax(1), bins)[:, None].clamp(0.1, 200)
    normals = path[:, :-2]
    for index in (0, 2, 4, 6):
        normals = conv(f"normal_predictor.{index}", normals.clamp(min=0) if index else normals)
    state_map = torch.cat(((depth - 200) / 100, path[:, -2:-1], *certain(normals, path[:, -1:])), 1)

    hidden, context = [], []
    for index, (name, x) in enumerate((("outputs04", x0), ("outputs08", x1), ("outputs16", x2))):
        first, second = (
            conv(f"context_feature_encoder.{name}.{k}.1", residual(f"context_feature_encoder.{name}.{k}.0", x)) for k in (0, 1)
        )
        hidden.append(first.tanh())
        context.append(conv(f"context_zqr_convs.{index}", second.clamp(min=0)).chunk(3, 1))
    for _ in range(iterations):
        for finest in (0, 1, 2):  # the coarsest runs three times, the next twice
            hidden[2] = gru("gru32", hidden[2], context[2], half(hidden[1]))
            if finest > 0:
                around = torch.cat((up(half(hidden[0]), x1.shape[2:]), up(hidden[2], x1.shape[2:])), 1)
                hidden[1] = gru("gru16", hidden[1], context[1], around)
        hidden[0] = gru("gru08", hidden[0], context[0], torch.cat((state_map, up(hidden[1], quarter)), 1))
        for kind, channels in (("d", slice(0, 2)), ("n", slice(2, 6))):
            step = conv(f"update_block.flow_head.conv1{kind}", hidden[0]).clamp(min=0)
            state_map[:, channels] += conv(f"update_block.flow_head.conv2{kind}", step)
    mask = 0.25 * conv("update_block.mask.2", conv("update_block.mask.0", hidden[0]).clamp(min=0))

    weights = mask.reshape(len(mask), 9, 16, *quarter).softmax(1)
    padded = F.pad(state_map, (1, 1, 1, 1))
    fine = torch.zeros(len(mask), 6, 16, *quarter)
    for neighbour in range(9):
        row, column = divmod(neighbour, 3)
        fine += weights[:, None, neighbour] * padded[:, :, None, row : row + quarter[0], column : column + quarter[1]]
    fine = F.pixel_shuffle(fine.flatten(1, 2), 4)
    return (100 * fine[:, :1] + 200).clamp(0.1, 200), fine[:, 1:2], *certain(fine[:, 2:5], fine[:, 5:])


@BOTH
@torch.no_grad()
def test_the_decoder_is_the_authors(config):
    state, network = tiny_state(config), annotator(config).network
    pixels = torch.randn(2, 3, 56, 84, generator=torch.Generator().manual_seed(1))
    tokens = network.encoder.tokens(pixels)
    assert [each.shape for each in tokens] == [(2, 1 + 4 + 24, config.vit.width)] * len(config.vit.taken)
    if len(tokens) == 1:  # the small and large networks read the last block four times, normalised
        norm = (state["encoder.norm.weight"], state["encoder.norm.bias"], 1e-6)
        tokens = [F.layer_norm(tokens[0], (config.vit.width,), *norm)] * 4
    expected = transcribed(state, [each.clone() for each in tokens], 4, config.iterations)
    found = network(pixels)
    assert found.depth.shape == (2, 1, 56, 84) and found.depth.std() > 1, "the weights bend the depth"
    for got, wanted, tolerance in zip(found, expected, (2e-3, 1e-4, 1e-4, 1e-4), strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=tolerance)


@torch.no_grad()
def test_registers_join_after_the_positions():
    encoder = annotator().network.encoder
    pixels = torch.randn(1, 3, 42, 42)
    (tokens,) = encoder.tokens(pixels)
    begun = torch.cat((encoder.cls_token, encoder.patch_embed(pixels)), 1) + encoder.pos_embed
    by_hand = torch.cat((begun[:, :1], encoder.register_tokens, begun[:, 1:]), 1)
    for block in encoder.blocks:
        by_hand = block(by_hand, None)
    torch.testing.assert_close(tokens, by_hand)
    maps, _ = encoder(pixels)
    torch.testing.assert_close(maps[-1].flatten(2).transpose(1, 2), encoder.norm(tokens)[:, 5:])


def published(state, mask_token=True):
    """Under the authors' names: blocks in one chunk, a normalisation twice, and a token that only training needs."""
    named = {}
    for key, value in state.items():
        named["depth_model." + key.replace("encoder.blocks.", "encoder.blocks.0.")] = value
        if ".downsample.1." in key:
            named["depth_model." + key.replace(".downsample.1.", ".norm3.")] = value
    return {**named, "depth_model.encoder.mask_token": torch.zeros(1, 16)} if mask_token else named


@pytest.mark.parametrize("mask_token", [True, False])
def test_the_authors_files_load(mask_token):
    state = tiny_state()
    found = metric3d.Metric3dAnnotator.build(spec(), {"network": published(state, mask_token)}, torch.float32).network.state_dict()
    assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize(
    ("other", "told"),
    [
        (replace(SMALL, levels=(6, 8, 16, 16), hidden=12), "tensors of another shape"),
        (replace(SMALL, vit=replace(SMALL.vit, depth=3)), "unexpected keys (first: encoder.blocks.2."),
        (replace(SMALL, vit=replace(SMALL.vit, registers=0)), "missing keys (first: encoder.register_tokens"),
        (GIANT, "tensors of another shape"),
    ],
)
def test_a_sibling_is_refused(other, told):
    with pytest.raises(CheckpointError, match=r"not a checkpoint of metric3d-tiny") as refused:
        metric3d.Metric3dAnnotator.build(spec(), {"network": published(tiny_state(other))}, torch.float32)
    assert told in str(refused.value)


def authors_input(image, frame):
    """Their resizing and padding of an image (H, W, 3) of 0..255, and what they cut away again."""
    height, width = image.shape[:2]
    scale = min(frame[0] / height, frame[1] / width)
    resized = cv2.resize(image, (int(width * scale), int(height * scale)), interpolation=cv2.INTER_LINEAR)
    down, across = frame[0] - resized.shape[0], frame[1] - resized.shape[1]
    border = (down // 2, down - down // 2, across // 2, across - across // 2)
    padded = cv2.copyMakeBorder(resized, *border, cv2.BORDER_CONSTANT, value=[123.675, 116.28, 103.53])
    return padded, scale, resized.shape[:2], border


SHAPES = pytest.mark.parametrize(("height", "width"), [(480, 640), (600, 400), (90, 160), (333, 999), (1000, 300), (40, 30), (616, 1064)])


@pytest.mark.quick_cases(3)
@SHAPES
def test_the_image_is_fitted_into_the_frame_as_by_the_authors(height, width):
    frame = (112, 196)
    assert annotator().network_size(height, width, 112) == frame
    image = (smooth_images(height, width)[0].movedim(0, -1).numpy() * 255).round().astype(np.float32)
    found = annotator().resize_images(torch.from_numpy(image).movedim(-1, 0)[None] / 255, 112)[0].movedim(0, -1).numpy() * 255
    of_bytes, *_ = authors_input(image.astype(np.uint8), frame)
    assert np.abs(found - of_bytes).max() < 1, "they round to bytes, here nothing is rounded"
    unrounded, _, (rows, columns), (top, _, left, _) = authors_input(image, frame)
    inside = np.s_[top : top + rows, left : left + columns]
    np.testing.assert_allclose(found[inside], unrounded[inside], atol=1e-3)
    found[inside] = of_bytes[inside]
    np.testing.assert_allclose(found, of_bytes, atol=1e-4, err_msg="the border is as theirs, to the byte")


def known(depth, normals=None):
    """Metric3D with a network that says just this."""
    normals = FACING.expand(len(depth), 3, *depth.shape[2:]) if normals is None else normals
    return metric3d.Metric3dAnnotator(spec(), Says(lambda pixels: Metric3dOutput(depth, depth / 100, normals, depth)))


def focal_length(fov, height, width):
    return max(height, width) / 2 / math.tan(math.radians(fov / 2))


@SHAPES
def test_what_is_cut_away_and_the_metres_are_the_authors(height, width):
    frame, fov = (112, 196), 47.0
    canonical = torch.rand(1, 1, *frame, generator=torch.Generator().manual_seed(3)) * 50 + 1
    found = known(canonical).estimate(smooth_images(height, width), 112, fov=fov)
    _, scale, size, (top, bottom, left, right) = authors_input(np.zeros((height, width, 3), np.uint8), frame)
    cut = canonical[..., top : 112 - bottom, left : 196 - right]
    assert cut.shape[2:] == size
    metres = (cut * (focal_length(fov, height, width) * scale / 1000)).clamp(0, 300)
    torch.testing.assert_close(found.depth, metres, rtol=1e-5, atol=0)
    torch.testing.assert_close(found.confidence, cut / 100)
    torch.testing.assert_close(found.resized(height, width).intrinsics, intrinsics_from_fov(fov, height, width), rtol=1e-4, atol=1e-2)


def test_without_a_camera_a_usual_one_is_taken_and_said():
    canonical = torch.full((2, 1, 112, 196), 7.0)
    found, given = (known(canonical).estimate(smooth_images(480, 640, 2), 112, fov=fov) for fov in (0.0, DEFAULT_FOV))
    torch.testing.assert_close(found.depth, given.depth)
    assert fov_from_intrinsics(found.intrinsics, found.height, found.width).tolist() == pytest.approx([DEFAULT_FOV] * 2, abs=0.3)
    assert MODELS["metric3d-vit-small"].knows_camera


def test_nothing_is_farther_than_the_authors_end():
    found = known(torch.full((1, 1, 112, 196), 200.0)).estimate(smooth_images(480, 640), 112, fov=1.0)
    assert (found.depth == 300).all()


@pytest.mark.parametrize(("height", "width"), [(240, 320), (320, 240)], ids=["landscape", "portrait"])
def test_points_and_normals_of_a_ball_agree(height, width):
    fov, frame = 50.0, (224, 392)
    _, scale, (rows, columns), (top, bottom, left, right) = authors_input(np.zeros((height, width, 3), np.uint8), frame)
    depth, normals, hit = ball_before_wall(rows, columns, fov)
    around = (left, right, top, bottom)
    canonical = F.pad(depth * 1000 / (focal_length(fov, height, width) * scale), around, value=99.0)
    found = known(canonical, F.pad(normals, around)).estimate(smooth_images(height, width), 224, fov=fov)
    assert found.quantity is Quantity.METRIC_DEPTH and found.axes is Axes.OPENCV
    torch.testing.assert_close(found.depth, depth, rtol=1e-4, atol=0)
    torch.testing.assert_close(found.normals, normals)
    points = depth_to_points(found.depth, found.intrinsics)
    distance = (points - CENTRE).norm(dim=1, keepdim=True)
    assert (distance[hit] - 1).abs().max() < 0.01, "the points lie on the ball"
    own = with_normals(Estimate(found.depth, found.quantity, intrinsics=found.intrinsics))
    signs = torch.tensor([1.0, -1.0, -1.0]).view(1, 3, 1, 1)  # OPENGL to OPENCV
    agreement = (own.normals * signs * found.normals).sum(1, keepdim=True)
    assert agreement[hit].median() > 0.999, "the axes are those of normals computed from the depth"
