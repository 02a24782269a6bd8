"""Depth and normals of an image by an ONNX file of `depth-normal export`, without the pack and without torch.

    pip install numpy pillow onnxruntime
    python use_onnx.py model.onnx photo.jpg maps.npz

The archive holds `depth` (H, W), `normals` (H, W, 3), `confidence` (H, W) and `mask` (H, W), as far as the model gives them: what
`depth-normal estimate --write npz` writes. The file's own metadata says how; docs/export.md has its vocabulary. This script knows all of
it, and so serves the models of every family. For one model, most of it is not needed.
"""

import json
import math
import sys

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

DEPTHS = ("disparity", "metric_depth", "scale_invariant_depth", "relative_depth")


def main(model, photo, maps):
    """Writes the maps of a photo."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    image = ImageOps.exif_transpose(Image.open(photo)).convert("RGBA")
    on_white = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    np.savez(maps, **estimate(session, np.asarray(on_white, np.float32) / 255))


def estimate(session, image):
    """The maps of an image (H, W, 3), RGB in [0, 1], by their names."""
    notes = session.get_modelmeta().custom_metadata_map
    before, after = json.loads(notes["preprocess"]), json.loads(notes["postprocess"])
    pixels, layout, inputs = preprocess(image, before)
    mean, std = (np.float32(json.loads(notes[name])) for name in ("mean", "std"))
    inputs["pixels"] = ((pixels - mean) / std).astype(np.float32).transpose(2, 0, 1)[None]
    outputs = run(session, inputs)
    if any(step["step"] == "mirror" for step in before):
        mirrored = run(session, {**inputs, "pixels": np.ascontiguousarray(inputs["pixels"][..., ::-1])})
        outputs = {name: (outputs[name] + mirrored[name][:, ::-1]) / 2 for name in outputs}
    return postprocess(outputs, after, image, pixels, layout)


def run(session, inputs):
    """The network's outputs: maps (h, w, channels), and what is no map as it is."""
    names = ["depth" if each.name in DEPTHS else each.name for each in session.get_outputs()]
    found = zip(names, session.run(None, inputs), strict=True)
    return {name: value[0].transpose(1, 2, 0) if value.ndim == 4 else value for name, value in found}


# From the image to the network's input


def preprocess(image, steps):
    """The network's input before normalisation, how the image lies in it, and further inputs."""
    pixels, layout, inputs = image, {}, {}
    for step in steps:
        kind, (height, width) = step["step"], pixels.shape[:2]
        if kind == "resize":
            layout["before_resize"] = height, width
            layout["frame"] = step.get("height"), step.get("width")
            pixels = resize(pixels, *network_size(step, height, width), step["kernel"])
            if step["kernel"] in ("area_cubic", "cubic_or_area"):
                pixels = pixels.clip(0, 1)
        elif kind == "pad":
            multiple = step["multiple_of"]
            total = [step[side] or -(-length // multiple) * multiple for side, length in (("height", height), ("width", width))]
            top, left = (total[0] - height) // 2, (total[1] - width) // 2
            layout["window"] = np.s_[top : top + height, left : left + width]
            framed = np.full((*total, 3), step["value"], np.float32)
            framed[layout["window"]] = pixels
            pixels = framed
        elif kind == "pad_reflect":
            top, left = (min(int((side / 2) ** 0.5 * step["factor"]), side - 1) for side in (height, width))
            layout["window"] = np.s_[top : top + height, left : left + width]
            pixels = np.pad(pixels, ((top, top), (left, left), (0, 0)), "reflect")
        elif kind == "aspect":
            inputs[step["input"]] = np.float32([image.shape[1] / image.shape[0]])
        elif kind == "camera":
            inputs[step["input"]] = np.float32(camera(image, layout["window"], step["fov"]))
        elif kind != "mirror":
            raise ValueError(f"unknown step {kind}: this script is older than the file")
    return pixels, layout, inputs


def network_size(step, height, width):
    """(height, width) that a resizing step gives an image of height x width."""
    rule, multiple, side = step["rule"], step.get("multiple_of", 1), step.get("side")
    short, long = sorted((height, width))

    def rounded(length):
        return max(multiple, round(length / multiple) * multiple)

    if rule == "fixed":
        return step["height"], step["width"]
    if rule == "half":
        return height // 2, width // 2
    if rule == "inside":
        scale = min(step["height"] / height, step["width"] / width)
        return max(1, int(height * scale)), max(1, int(width * scale))
    if rule == "short_side":
        return tuple(rounded(max(1, round(each * (step["height"] / short)))) for each in (height, width))
    if rule == "short_side_capped":
        scale = min(side / short, max(step["longest_aspect"] * side / long, multiple / short))
        return rounded(height * scale), rounded(width * scale)
    if rule == "long_side":
        whole = [max(1, round(each * (side / long))) for each in (height, width)]
        return tuple(max(multiple, (2 * each + multiple) // (2 * multiple) * multiple) for each in whole)
    if rule == "pixel_count":
        cells, aspect = (side / multiple) ** 2, width / height
        return multiple * max(1, round((cells / aspect) ** 0.5)), multiple * max(1, round((cells * aspect) ** 0.5))
    if rule == "lower_bound_wide":
        if long / short > step["longest_aspect"]:
            side = rounded(int(side * step["of_aspect"] / (long / short)))
        rule, frame = "lower_bound", (side, side)
    else:
        frame = step["height"], step["width"]
    scales = frame[0] / height, frame[1] / width
    if rule != "stretch":
        scales = [{"lower_bound": max, "upper_bound": min, "least_scaling": nearest_to_one}[rule](scales)] * 2
    sizes = []
    for length, scale, bound in zip((height, width), scales, frame, strict=True):
        size = rounded(scale * length)
        if rule == "lower_bound" and size < bound:
            size += multiple
        if rule == "upper_bound" and size > bound:
            size = max(multiple, size - multiple)
        sizes.append(size)
    return tuple(sizes)


def nearest_to_one(scales):
    """The scale that changes an image least."""
    return min(scales, key=lambda scale: abs(1 - scale))


def camera(image, window, fov):
    """fx, fy, cx, cy of the network's input, of a camera whose longer side spans fov degrees."""
    (height, width), (rows, columns) = image.shape[:2], window
    focal_length = max(height, width) / 2 / math.tan(math.radians(fov) / 2)
    seen = rows.stop - rows.start, columns.stop - columns.start
    return (
        focal_length * seen[1] / width,
        focal_length * seen[0] / height,
        (seen[1] - 1) / 2 + columns.start,
        (seen[0] - 1) / 2 + rows.start,
    )


# Resampling: a matrix for each axis, which has what each old pixel counts for each new one


def resize(values, height, width, kernel):
    """An image or map (h, w, channels) at another size."""
    rows, columns = values.shape[:2]
    if kernel == "cubic_or_area":
        kernel = "cubic" if height > rows or width > columns else "area_cubic"
    return apply(weights(rows, height, kernel), weights(columns, width, kernel), values)


def apply(down, across, values):
    """Two matrices applied to the rows and the columns of (h, w, channels)."""
    return np.einsum("ij,kj...->ki...", across, np.tensordot(down, values, 1), optimize=True).astype(np.float32)


def weights(old, new, kernel):
    """(new, old): what each pixel of an axis counts for each of the new ones."""
    if kernel.startswith("area_"):
        kernel = "area" if new < old else kernel.removeprefix("area_")
    if kernel == "area":
        edges, cells = np.arange(new + 1) * old / new, np.arange(old)
        overlap = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        return overlap.clip(0) * new / old
    places = np.linspace(0, old - 1, new) if kernel == "linear_corners" else (np.arange(new) + 0.5) * old / new - 0.5
    if kernel == "nearest":
        return (np.floor(places + 0.5)[:, None] == np.arange(old)).astype(float)
    antialiased = kernel.endswith("_antialiased")
    cells = np.arange(-3, old + 3)
    x = np.abs(cells - places[:, None]) / (max(1, old / new) if antialiased else 1)
    if kernel.startswith("linear"):
        found = (1 - x).clip(0)
    else:
        a = -0.5 if antialiased else -0.75
        near, far = ((a + 2) * x - (a + 3)) * x * x + 1, ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        found = np.where(x <= 1, near, np.where(x < 2, far, 0))
    if antialiased:  # what is beyond the border does not count; else the border is repeated
        inside = found[:, 3:-3]
        return inside / inside.sum(1, keepdims=True)
    found[:, 3] += found[:, :3].sum(1)
    found[:, -4] += found[:, -3:].sum(1)
    return found[:, 3:-3]


# From the network's outputs to maps


def postprocess(maps, steps, image, pixels, layout):
    """The maps of the image from the network's outputs."""
    height, width = image.shape[:2]
    mask = None
    for step in steps:
        kind = step["step"]
        if kind == "crop":
            maps = {name: value[layout["window"]] for name, value in maps.items()}
        elif kind == "undo_resize":
            maps = {name: resize(value, *layout["before_resize"], step["kernel"]) for name, value in maps.items()}
        elif kind == "scale_by_focal_length":
            scale = min(layout["frame"][0] / height, layout["frame"][1] / width) if step["of"] == "image" else 1
            side = scale * max(height, width) if step["of"] == "image" else max(pixels.shape[:2])
            maps["depth"] = maps["depth"] * (side / 2 / math.tan(math.radians(step["fov"]) / 2) / step["focal_length"])
        elif kind == "limit_depth":
            maps["depth"] = maps["depth"].clip(step.get("least"), step.get("most"))
        elif kind == "sky":
            maps["depth"], mask = with_sky(maps["depth"], maps["sky"], step)
        elif kind == "guided":
            maps, mask = guided_maps(maps, image, pixels, step)
        elif kind == "surfaces":
            maps, mask = at_edges(maps, image, pixels, step)
        elif kind == "point_map":
            maps, mask = from_points(maps, height, width, step["farthest"])
        elif kind == "resize_to_image":
            maps, mask = resize_to_image(maps, mask, height, width, step["kernel"])
        else:
            raise ValueError(f"unknown step {kind}: this script is older than the file")
    found = {name: maps[name][..., 0] for name in ("depth", "confidence") if name in maps}
    found |= {name: maps[name] for name in ("normals",) if name in maps}
    return found if mask is None else {**found, "mask": mask}


def resize_to_image(maps, mask, height, width, kernel):
    """Maps and mask at another size: outside the mask nothing counts."""
    shape = next(iter(maps.values())).shape[:2]
    counts = np.ones((*shape, 1), np.float32) if mask is None else mask[..., None].astype(np.float32)
    total = resize(counts, height, width, kernel)
    resized = {}
    for name in {"depth", "normals", "confidence"} & maps.keys():
        values = maps[name]
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = resize(np.where(counts > 0, values, 0), height, width, kernel) / total  # NaN times 0 is NaN
        if name == "normals":
            resized[name] = unit(mean)
        else:
            known = values[counts > 0] if mask is not None and mask.any() else values
            resized[name] = mean.clip(known.min(), known.max())
    return resized, None if mask is None else resize(counts, height, width, "area_linear")[..., 0] >= 0.499


def unit(vectors):
    """Vectors (h, w, 3) at length 1."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True).clip(1e-12)


def with_sky(depth, sky, step):
    """Depth whose sky is as far as the farthest land, and the mask without it (Depth Anything 3)."""
    land = sky[..., 0] < step["below"]
    if min(land.sum(), (~land).sum()) > step["least_pixels"]:
        values = depth[land]
        far = np.quantile(values[:: max(1, len(values) // step["samples"])], step["quantile"])
        depth = np.where(land[..., None], depth, far.astype(np.float32))
    return depth, land


# The bundled model: maps that take the edges of the image


def guided_maps(maps, image, pixels, step):
    """Maps of twice the input's size, and the mask without the sky."""
    size = [step["enlarged"] * side for side in pixels.shape[:2]]
    brightness = resize(image.mean(-1, keepdims=True), *size, "area_cubic").clip(0, 1)
    depth, normals = maps["depth"], maps["normals"]
    if "sky" not in step:
        smooth = {name: guided_upsample(maps[name], brightness, step["radius"], step["epsilon"]) for name in ("depth", "normals")}
        return {**smooth, "normals": unit(smooth["normals"])}, None
    depth, shown = guided_detail(depth, brightness, step["radius"], step["epsilon"]), resize(image, *size, "area_cubic").clip(0, 1)
    land = land_of(maps["sky"], brightness, shown, step["sky"])
    return {"depth": with_far_sky(depth, land, step["sky"]), "normals": unit(resize(normals, *size, "linear"))}, land[..., 0]


def at_edges(maps, image, pixels, step):
    """Maps whose edges are the image's, at its size (of large images, and of small ones, at the input's), and the mask without the sky."""
    size, (height, width) = pixels.shape[:2], image.shape[:2]
    land = land_of(maps["sky"], pixels.mean(-1, keepdims=True), pixels, step["sky"])
    if size[0] < height and height * width <= step["most_pixels"]:
        size = height, width
    first, second, edge = (resize(maps[name], *size, "area_linear") for name in ("first", "second", "edge"))
    depth = second + (first - second) / (1 + np.exp(-edge))
    normals = {"normals": unit(resize(maps["normals"], *land.shape[:2], "linear"))}
    normals, land = resize_to_image(normals, land[..., 0], *size, "area_linear")
    return {"depth": with_far_sky(depth, land[..., None], step["sky"]), **normals}, land


def land_of(sky, brightness, shown, numbers):
    """Where the sky is not, (h, w, 1), at the size of the image `shown` and of its brightness."""
    size = shown.shape[:2]
    rim, pooled = numbers["rim"], [side // numbers["pooled"] for side in sky.shape[:2]]
    inside = np.pad(sky[rim:-rim, rim:-rim], ((rim, rim), (rim, rim), (0, 0)), "edge")
    share = guided_upsample(resize(inside, *pooled, "area_linear"), brightness, numbers.get("radius", 2), numbers["epsilon"])
    least, is_sure = share, None
    if "by_colours" in numbers:  # older files have no such step
        least = np.minimum(share, numbers["most_fitted"] * resize(inside, *size, "linear"))
        is_sure = is_sure_of_sky(least, numbers)
        share = sky_by_colours(least, shown, numbers["by_colours"]) if is_sure else share
    sky = sky_of(share, shown, numbers, is_sure)
    if is_sure and sky.any():
        sky = with_clouds(sky, least, numbers["by_colours"])
    if "growth" in numbers:  # older files have no such step
        sky = grown_sky(sky, share >= numbers["suspected_from"], shown, numbers["growth"])
    return ~sky


def is_sure_of_sky(share, numbers):
    """Whether the network is sure of a part of the sky that it predicts."""
    return (share >= numbers["sure_from"]).sum() > numbers["sure_part"] * (share >= numbers["from"]).sum()


def sky_by_colours(share, image, numbers):
    """The share of sky, more where a pixel looks like the sky around it, and less where it looks like the land."""
    size, squares = share.shape[:2], [max(1, side // numbers["square"]) for side in share.shape[:2]]
    small, pooled = (resize(each, *squares, "area_linear") for each in (image, share))
    sky, sure = (((pooled - least) / (1 - least)).clip(0) for least in (numbers["sky_from"], numbers["sure_from"]))
    land = (1 - pooled / numbers["land_below"]).clip(0)

    def around(values):
        return square_means(square_means(values, numbers["around"]), numbers["around"])

    def likelihood(side):
        sums = around(np.concatenate((small * side, small**2 * side), -1)) / around(side).clip(1e-6)
        variance = (sums[..., 3:] - sums[..., :3] ** 2).clip(0) + numbers["deviation"] ** 2
        mean, variance = resize(sums[..., :3], *size, "linear"), resize(variance, *size, "linear")
        apart = ((image - mean) ** 2 / variance).sum(-1, keepdims=True)
        tails = numbers["tails"]
        return -0.5 * np.log(variance).sum(-1, keepdims=True) - (tails + 3) / 2 * np.log1p(apart / tails)

    some_sky, some_land = (count / (count + numbers["few"]) for count in (around(sure), around(land)))
    trust = resize(some_sky * some_land, *size, "linear")
    evidence = (numbers["counts"] * (likelihood(sky) - likelihood(land))).clip(-numbers["most_against"], numbers["most_for"])
    certain = share.clip(numbers["certain"], 1 - numbers["certain"])
    odds = np.log(certain / (1 - certain)) + evidence * trust
    return np.where(trust > 0, 1 / (1 + np.exp(-odds)), share)


def with_clouds(sky, share, numbers):
    """The sky with the wide islands in it that are nowhere surely land."""
    squares = [max(1, side // numbers["square"]) for side in sky.shape[:2]]
    land = ~sky
    part, sure = (resize(each.astype(float), *squares, "area_linear") for each in (land, land & (share < numbers["sure_of_land"])))

    def spread(start, within):
        for _ in range(numbers["steps"]):
            start = within & (square_means(start.astype(float), numbers["gap"]) > 1e-6)
        return start

    islands = (part > 0) & ~spread(sure > 0, part > 0)
    clouds = spread(islands & (part > numbers["whole"]), islands)
    return sky | (resize(clouds.astype(float), *sky.shape[:2], "nearest") > 0)


def sky_of(share, image, numbers, is_sure=None):
    """Where the sky is: `predicted`, but for what is green as a whole."""
    sky = predicted(share, image, numbers, is_sure_of_sky(share, numbers) if is_sure is None else is_sure)
    greener = image[..., 1:2] - image[..., ::2].max(-1, keepdims=True)
    return sky & ~(sky.any() and greener[sky].mean() > numbers.get("green", np.inf))  # older files have no such number


def predicted(share, image, numbers, is_sure):
    """The predicted sky. Of one that is hardly anywhere sure, what is suspected has to be blue, and around each pixel blue or pale."""
    suspected, likely = (share >= numbers[name] for name in ("suspected_from", "from"))
    if is_sure:
        return likely
    if likely.sum() > numbers["likely_part"] * suspected.sum():
        blueness = image[..., 2:] - image[..., :1]
        blue, rest = (blueness[where].mean() if where.any() else np.inf for where in (suspected, ~suspected))
        if blue > numbers["blue"] and blue - rest > numbers["bluer"]:
            image = square_means(image, numbers["smoothed"])
            blueness = image[..., 2:] - image[..., :1]
            pale = (image.mean(-1, keepdims=True) > numbers["bright"]) & (blueness > -numbers["warm"])
            coloured = likely | (suspected & ((blueness > numbers["blue"]) | pale))
            return square_means(coloured.astype(float), numbers["smoothed"]) > 0.5
    return np.zeros_like(suspected)


def grown_sky(sky, suspected, image, numbers):
    """The sky with what is suspected beside it and looks like it, in colour and fineness; a white or warm one stays as it is."""
    red, green, blue = (image[..., i : i + 1][sky].mean() if sky.any() else 1.0 for i in range(3))
    brightness, light = image.mean(-1, keepdims=True), (red + green + blue) / 3
    if light > numbers["white"] or (light > numbers["bright"] and blue - red < -numbers["warm"]):
        return sky
    fineness = np.zeros_like(brightness)
    fineness[:, :-1] += np.abs(np.diff(brightness, axis=1))
    fineness[:-1] += np.abs(np.diff(brightness, axis=0))
    squares = [max(1, side // numbers["square"]) for side in sky.shape[:2]]
    colour, fineness, allowed, start = (resize(each.astype(float), *squares, "area_linear") for each in (image, fineness, suspected, sky))
    grown = start > 0.5
    for _ in range(numbers["steps"]):
        weight = grown.astype(float)
        near = square_means(np.concatenate((colour * weight, colour**2 * weight, fineness * weight, weight), -1), numbers["around"])
        near = near[..., :-1] / near[..., -1:].clip(1e-6)
        variance = (near[..., 3:6] - near[..., :3] ** 2).sum(-1, keepdims=True)
        alike = ((colour - near[..., :3]) ** 2).sum(-1, keepdims=True) < (numbers["deviations"] ** 2 * variance).clip(numbers["alike"] ** 2)
        alike &= fineness < (numbers["as_fine"] * near[..., 6:]).clip(numbers["even"])
        grown = grown | ((allowed > 0.5) & alike & (square_means(weight, numbers["reach"]) > 1e-6))
    new = (grown & (start <= 0.5)).astype(float)
    new *= square_means((square_means(new, numbers["wide"]) > numbers["filled"]).astype(float), numbers["beside"]) > 1e-6
    at_edges = guided_upsample(((start > 0.5) | (new > 0)).astype(float), brightness, numbers["radius"], numbers["epsilon"]) > 0.5
    return sky | (at_edges & suspected & (resize(square_means(new, 1), *sky.shape[:2], "linear") > 1e-6))


def with_far_sky(disparity, land, numbers):
    """Disparity whose sky is as far as it is said to be on average, or as the farthest hundredth of the land where that is farther."""
    grid = np.s_[numbers["sampled"] // 2 :: numbers["sampled"]]
    values, counts = disparity[grid, grid], land[grid, grid]
    if not counts.any() or land.all():
        return disparity
    far = np.sort(values[counts])[int(counts.sum() * numbers["farthest"])]
    far = min(far, values[~counts].sum() / (~counts).sum()) if (~counts).any() else far
    return np.where(land, disparity, far).clip(min=far)


def guided_upsample(values, guide, radius, epsilon):
    """Maps at the guide's size: around each point they are linear in it (He and Sun, "Fast Guided Filter", 2015)."""
    slope, offset = linear_in(resize(guide, *values.shape[:2], "area_linear"), values, radius, epsilon)
    return resize(offset, *guide.shape[:2], "linear") + resize(slope, *guide.shape[:2], "linear") * guide


def guided_detail(values, guide, radius, epsilon):
    """Maps at the guide's size, which gain what the guide shows finer than they are."""
    size, half = guide.shape[:2], [side // 2 for side in values.shape[:2]]
    small = resize(guide, *values.shape[:2], "area_linear")
    slope, _ = linear_in(resize(small, *half, "area_linear"), resize(values, *half, "area_linear"), radius, epsilon)
    return resize(values, *size, "linear") + resize(slope, *size, "linear") * (guide - resize(small, *size, "linear"))


def square_means(values, radius):
    """Means over a square around every pixel, at the border of the pixels that there are."""
    near = [np.abs(np.subtract.outer(np.arange(side), np.arange(side))) <= radius for side in values.shape[:2]]
    return apply(*near, values) / apply(*near, np.ones_like(values))


def linear_in(guide, values, radius, epsilon):
    """Slope and offset, smoothed, of the values around each point as a linear function of the guide."""

    def mean(x):
        return square_means(x, radius)

    slope = (mean(guide * values) - mean(guide) * mean(values)) / (mean(guide * guide) - mean(guide) ** 2 + epsilon)
    return mean(slope), mean(mean(values) - slope * mean(guide))


# MoGe: the camera that sees the points where their pixels are


def from_points(maps, height, width, farthest):
    """Depth, normals and mask of the image's size from a point map."""
    points, inside = (resize(maps[name], height, width, "linear") for name in ("points", "mask"))
    z, mask = np.exp(points[..., 2:]), inside[..., 0] > 0
    v, u = np.mgrid[:height, :width] + 0.5
    plane = (np.stack((u, v), -1) * 2 - (width, height)) / math.hypot(height, width)
    rows, columns = (np.arange(64) * side // 64 for side in (height, width))
    sample = np.ix_(rows, columns)
    counts = mask[sample]
    z = z + find_shift((points[..., :2] * z)[sample][counts], z[sample][counts], plane[sample][counts])
    mask &= z[..., 0] > 0
    found = {"depth": np.where(mask[..., None], z * maps["scale"], farthest).clip(max=farthest).astype(np.float32)}
    if "normals" in maps:
        found["normals"] = unit(resize(maps["normals"], height, width, "linear"))
    return found, mask


def find_shift(xy, z, uv):
    """The shift of z with which points (n, 2), (n, 1) are seen nearest to their pixels (n, 2): Levenberg and Marquardt; 0 if none fits."""
    xy, z = xy.astype(float), z.astype(float)

    def error(shift):
        seen = xy / (z + shift)
        change, square = -seen / (z + shift), (seen * seen).sum()
        focal = (seen * uv).sum() / square
        focal_change = ((change * uv).sum() - 2 * focal * (seen * change).sum()) / square
        residual, slope = focal * seen - uv, focal_change * seen + focal * change
        return focal, (residual * residual).sum(), -(residual * slope).sum() / (slope * slope).sum()

    if len(z) < 2:
        return 0.0
    shift, damping, (focal, now, step) = 0.0, 1e-3, error(0.0)
    for _ in range(32):
        tried = max(shift + step / (1 + damping), (shift - z.min()) / 2)
        found = error(tried)
        damping *= 0.1 if found[1] < now else 10
        if found[1] < now:
            worth = found[1] < (1 - 1e-3) * now
            shift, (focal, now, step) = tried, found
            if not worth:
                break
    return shift if focal > 0 and math.isfinite(shift) else 0.0


if __name__ == "__main__":
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
