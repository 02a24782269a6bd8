"""The transformer against a transcription of the papers' formulas in numpy, one token at a time."""

import math

import numpy as np
import pytest
import torch

from depth_normal.annotators.networks.vit import VisionTransformer, VitConfig
from tests.random_weights import randomise

PLAIN = VitConfig(16, 4, 2, (1, 3), grid=3)
GATED = VitConfig(16, 4, 2, (1, 3), swiglu=True, grid=3)
ALTERNATING = VitConfig(16, 6, 2, (3, 5), alternating_from=2, norm_eps=1e-5, grid=3)


def random_network(config):
    return randomise(VisionTransformer(config))


def layer_norm(x, p, name, eps):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x**2).mean(-1, keepdims=True) + eps) * p[f"{name}.weight"] + p[f"{name}.bias"]


def linear(x, p, name):
    return x @ p[f"{name}.weight"].T + p[f"{name}.bias"]


def cubic(t):
    """The cubic convolution kernel with a = -0.75."""
    t = abs(t)
    if t <= 1:
        return 1.25 * t**3 - 2.25 * t**2 + 1
    return -0.75 * (t**3 - 5 * t**2 + 8 * t - 4) if t < 2 else 0.0


def cubic_weights(old, new):
    """DINOv2's stretch: sampled as if the new grid had a tenth of a patch more."""
    weights = np.zeros((new, old))
    for i in range(new):
        place = (i + 0.5) * old / (new + 0.1) - 0.5
        for j in range(math.floor(place) - 1, math.floor(place) + 3):
            weights[i, min(max(j, 0), old - 1)] += cubic(place - j)
    return weights


def rotated(vector, row, column):
    """Each half of the vector as complex numbers (i-th and middle + i-th entry), turned by the angle of its axis."""
    halves = []
    for half, position in ((vector[: len(vector) // 2], row), (vector[len(vector) // 2 :], column)):
        count = len(half) // 2
        turned = (half[:count] + 1j * half[count:]) * np.exp(1j * position * 100.0 ** (-np.arange(count) / count))
        halves += [turned.real, turned.imag]
    return np.concatenate(halves)


def attention(x, p, name, heads, places):
    width = x.shape[-1] // heads
    out = np.zeros_like(x)
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        query, key, value = (linear(x, p, f"{name}.qkv")[:, i * x.shape[-1] :][:, part] for i in range(3))
        if places is not None:
            query, key = layer_norm(query, p, f"{name}.q_norm", 1e-5), layer_norm(key, p, f"{name}.k_norm", 1e-5)
            query = np.stack([rotated(each, *place) for each, place in zip(query, places, strict=True)])
            key = np.stack([rotated(each, *place) for each, place in zip(key, places, strict=True)])
        scores = np.exp(query @ key.T / math.sqrt(width))
        out[:, part] = scores / scores.sum(-1, keepdims=True) @ value
    return linear(out, p, f"{name}.proj")


def perceptron(x, p, name):
    if f"{name}.w12.weight" in p:
        gate, value = np.split(linear(x, p, f"{name}.w12"), 2, -1)
        return linear(gate / (1 + np.exp(-gate)) * value, p, f"{name}.w3")
    inner = linear(x, p, f"{name}.fc1")
    return linear(inner * 0.5 * (1 + np.vectorize(math.erf)(inner / math.sqrt(2))), p, f"{name}.fc2")


def tokens(p, config, image):
    """Of one image, class token first."""
    rows, columns = image.shape[1] // 14, image.shape[2] // 14
    grid = p["pos_embed"][0, 1:].reshape(config.grid, config.grid, -1)
    if (rows, columns) != (config.grid, config.grid):
        grid = np.einsum("ri,cj,ijw->rcw", cubic_weights(config.grid, rows), cubic_weights(config.grid, columns), grid)
    x = [p["cls_token"][0, 0] + p["pos_embed"][0, 0]]
    for row in range(rows):
        for column in range(columns):
            patch = image[:, 14 * row : 14 * row + 14, 14 * column : 14 * column + 14]
            x.append((p["patch_embed.proj.weight"] * patch).sum((1, 2, 3)) + p["patch_embed.proj.bias"] + grid[row, column])
    return np.stack(x)


def reference_view(class_tokens):
    """The view in the middle of the others: by its mean cosine with them, its token's length, and the variance of its direction."""
    if len(class_tokens) < 3:
        return 0
    lengths = [math.sqrt(sum(token**2)) for token in class_tokens]
    directions = [token / length for token, length in zip(class_tokens, lengths, strict=True)]
    cosines = [np.mean([one @ other for j, other in enumerate(directions) if j != i]) for i, one in enumerate(directions)]
    distance = np.zeros(len(class_tokens))
    for measure in (cosines, lengths, [np.var(each, ddof=1) for each in directions]):
        distance += abs((np.array(measure) - min(measure)) / (max(measure) - min(measure) + 1e-8) - 0.5)
    return int(distance.argmin())


def transcription(network, *images):
    """Features and last tokens of views of one scene, one after the other; and which is the reference."""
    config = network.config
    p = {name: value.double().numpy() for name, value in network.state_dict().items()}
    rows, columns = images[0].shape[1] // 14, images[0].shape[2] // 14
    views = [tokens(p, config, image) for image in images]
    own_places = [(0, 0), *((row + 1, column + 1) for row in range(rows) for column in range(columns))]
    one_place = [(0, 0), *((1, 1) for _ in own_places[1:])]
    taken, start, reference = [[] for _ in views], config.alternating_from, 0

    def block(x, name, places):
        x = x + p[f"{name}.ls1.gamma"] * attention(layer_norm(x, p, f"{name}.norm1", 1e-6), p, f"{name}.attn", config.heads, places)
        return x + p[f"{name}.ls2.gamma"] * perceptron(layer_norm(x, p, f"{name}.norm2", 1e-6), p, f"{name}.mlp")

    for index in range(config.depth):
        is_global = start is not None and index >= start and index % 2 == 1
        places = None if start is None or index < start else own_places
        if start is not None and index == start - 1:
            reference = reference_view([x[0] for x in views])
        if index == start:
            for i, x in enumerate(views):
                x[0] = p["camera_token"][0, 0 if i == reference else 1]
        if is_global:
            views = np.split(block(np.concatenate(views), f"blocks.{index}", one_place * len(views)), len(views))
        else:
            local = views = [block(x, f"blocks.{index}", places) for x in views]
        if index in config.taken:
            for x, of_local, found in zip(views, local, taken, strict=True):
                normed = layer_norm(x, p, "norm", config.norm_eps)
                both = normed if start is None else np.concatenate((of_local, normed), -1)
                found.append(both[1:].T.reshape(-1, rows, columns))
    lasts = [x[0] if start is None else np.concatenate((of_local[0], x[0])) for x, of_local in zip(views, local, strict=True)]
    return taken, lasts, reference


@pytest.mark.parametrize("config", [PLAIN, GATED, ALTERNATING], ids=["plain", "gated", "alternating"])
@pytest.mark.parametrize("rows, columns", [(3, 3), (2, 5)])
def test_the_transformer_is_the_papers(config, rows, columns):
    network = random_network(config)
    images = torch.randn(2, 3, 14 * rows, 14 * columns, generator=torch.Generator().manual_seed(1))
    found = network(images)
    assert {each.shape[1] for each in found[0]} == {config.channels}
    for index, image in enumerate(images):
        (expected_maps,), (expected_last,), _ = transcription(network, image.double().numpy())
        compare(found, index, expected_maps, expected_last)


def compare(found, index, expected_maps, expected_last):
    maps, last = found
    assert len(maps) == len(expected_maps) == 2
    for each, expected in zip(maps, expected_maps, strict=True):
        np.testing.assert_allclose(each[index].numpy(), expected, atol=2e-5 * np.abs(expected).max())
    np.testing.assert_allclose(last[index].numpy(), expected_last, atol=2e-5 * np.abs(expected_last).max())


def views(count, seed, rows=2, columns=3):
    return torch.randn(count, 3, 14 * rows, 14 * columns, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("count, seed, reference", [(1, 0, 0), (2, 0, 0), (3, 0, 2), (3, 3, 0), (5, 1, 2)])
def test_views_of_one_scene_see_each_other_as_in_the_paper(count, seed, reference):
    network, images = random_network(ALTERNATING), views(count, seed)
    found = network(images, one_scene=True)
    expected_maps, expected_lasts, chosen = transcription(network, *images.double().numpy())
    assert chosen == reference
    for index in range(count):
        compare(found, index, expected_maps[index], expected_lasts[index])


def test_a_scene_of_one_view_is_an_image_to_the_bit():
    network, images = random_network(ALTERNATING), views(1, 0)
    (maps, last), (alone, alone_last) = network(images, one_scene=True), network(images)
    assert all(torch.equal(one, other) for one, other in zip((*maps, last), (*alone, alone_last), strict=True))


def test_three_views_and_more_may_come_in_any_order():
    network, images, order = random_network(ALTERNATING), views(4, 2), [2, 0, 3, 1]
    (maps, last), (other_maps, other_last) = network(images, one_scene=True), network(images[order], one_scene=True)
    for one, other in zip((*maps, last), (*other_maps, other_last), strict=True):
        torch.testing.assert_close(one[order], other, rtol=1e-4, atol=1e-4)


def test_the_official_names():
    names = set(VisionTransformer(ALTERNATING).state_dict())
    block = "norm1.weight norm1.bias attn.qkv.weight attn.qkv.bias attn.proj.weight attn.proj.bias ls1.gamma norm2.weight norm2.bias "
    block += "mlp.fc1.weight mlp.fc1.bias mlp.fc2.weight mlp.fc2.bias ls2.gamma"
    extra = "attn.q_norm.weight attn.q_norm.bias attn.k_norm.weight attn.k_norm.bias"
    expected = {"cls_token", "pos_embed", "camera_token", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"}
    expected |= {f"blocks.{i}.{name}" for i in range(6) for name in block.split()}
    expected |= {f"blocks.{i}.{name}" for i in range(2, 6) for name in extra.split()}
    assert names == expected


@pytest.mark.usefixtures("torchs_own_bfloat16")
def test_bfloat16_on_a_cpu_is_as_exact_by_matrix_products(monkeypatch):
    image = torch.rand(1, 3, 24 * 14, 25 * 14, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        exact = torch.stack(random_network(PLAIN)(image)[0])
        network, attention, found = random_network(PLAIN).bfloat16(), torch.nn.functional.scaled_dot_product_attention, {}
        for has_amx in (True, False):
            for name, answer in {"_is_avx512_bf16_supported": True, "_is_amx_tile_supported": has_amx}.items():
                monkeypatch.setattr(torch.cpu, name, lambda answer=answer: answer)
            calls = []
            monkeypatch.setattr(
                torch.nn.functional, "scaled_dot_product_attention", lambda *given, calls=calls: calls.append(1) or attention(*given)
            )
            maps = torch.stack(network(image.bfloat16())[0]).float()
            found[has_amx] = float((maps - exact).square().mean().sqrt()), len(calls)
    (of_torch, with_torch), (of_products, by_products) = found[True], found[False]
    assert (with_torch, by_products) == (PLAIN.depth, 0)
    assert of_products < 1.25 * of_torch, found
