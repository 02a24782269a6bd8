"""The authors' LeReS and LeReS++ as controlnet-aux has them, made small, and the pack's entries of the same sizes."""

import importlib
import importlib.util
import inspect
import sys
import types

import numpy as np
import pytest
import torch
from torch import nn

from depth_normal.annotators.registry import MODELS
from tests import tiny_old_nodes
from tests.random_weights import randomise


def shrunk(model_id):
    """An entry of the table with a tiny architecture."""
    return tiny_old_nodes.shrunk(MODELS[model_id])


CONFIG, BOOST = (shrunk(model_id).config for model_id in ("leres", "leres-boost"))
ENCODER, MERGE = CONFIG.encoder, BOOST.merge


def authors(name):
    """A module of controlnet-aux's `leres`, without the package's `__init__`, which imports all of controlnet-aux."""
    found = importlib.util.find_spec("controlnet_aux")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the oracle is controlnet-aux (extra 'test')")
    stands_in = "controlnet_aux" not in sys.modules
    if stands_in:
        package = types.ModuleType("controlnet_aux")
        package.__path__ = list(found.submodule_search_locations)
        sys.modules["controlnet_aux"] = package
    try:
        return importlib.import_module(f"controlnet_aux.leres{name}")
    finally:
        if stands_in:
            del sys.modules["controlnet_aux"]


class DepthModel(nn.Module):
    """The authors' network of the size of `CONFIG`."""

    def __init__(self):
        super().__init__()
        modules, resnext = authors(".leres.network_auxi"), authors(".leres.Resnext_torch")
        encoder = resnext.ResNet(resnext.Bottleneck, list(ENCODER.blocks), groups=ENCODER.groups, width_per_group=ENCODER.group_width)
        self.encoder_modules = nn.Module()
        self.encoder_modules.encoder = encoder
        inputs, (fine, *_, coarse) = ENCODER.channels, CONFIG.features

        class Decoder(modules.Decoder):
            def __init__(self):
                nn.Module.__init__(self)
                self.conv = modules.FTB(inputs[3], coarse)
                self.conv1 = nn.Conv2d(coarse, fine, 3, padding=1)
                self.upsample = nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True)
                self.ffm2, self.ffm1, self.ffm0 = (modules.FFM(inputs[level], fine, fine) for level in (2, 1, 0))
                self.outconv = modules.AO(fine, 1)

        self.decoder_modules = Decoder()

    def forward(self, x):
        return self.decoder_modules(self.encoder_modules.encoder(x))


def relative_depth_model(seed=0):
    """The authors' `RelDepthModel` with a small, random network."""
    model = nn.Module()
    model.depth_model = randomise(DepthModel(), seed)
    return model


def merge_generator(config=MERGE, seed=0):
    """The merging network as its authors build it."""
    networks = authors(".pix2pix.models.networks")
    network = networks.UnetGenerator(2, 1, config.levels, config.width, norm_layer=lambda _: networks.Identity())
    return network if any(value.is_meta for value in network.parameters()) else randomise(network, seed)


def published(model, statistics=()):
    """A state dict in the layout of res101.pth."""
    state = {f"module.{key}": value for key, value in model.state_dict().items()}
    return {"depth_model": state, **{name: {} for name in statistics}}


def write_files(folder):
    """Both files, tiny, under their published names; gives the authors' networks that are in them."""
    model, merge = relative_depth_model(), merge_generator()
    torch.save(published(model, ("shift_model", "focal_model")), folder / "res101.pth")
    torch.save(merge.state_dict(), folder / "latest_net_G.pth")
    return model, merge


class Merging:
    """The authors' `Pix2Pix4DepthModel` around any function of two maps."""

    def __init__(self, merge):
        self._merge = merge

    def set_input(self, outer, inner):
        maps = (torch.from_numpy(each)[None, None].float() for each in (outer, inner))
        self._maps = [2 * (each - each.min()) / (each.max() - each.min()) - 1 for each in maps]

    def test(self):
        with torch.no_grad():
            self._merged = self._merge(*self._maps)

    def get_current_visuals(self):
        return {"fake_B": self._merged}


def soft_window(size):
    """The authors' `generatemask`, whose 749 x 749 Gaussian works on each axis by itself."""
    import cv2

    length, deviation = size[0], size[0] // 16
    box = np.zeros(length)
    box[int(0.15 * length) : length - int(0.15 * length)] = 1
    profile = np.convolve(box, cv2.getGaussianKernel(4 * deviation + 1, deviation)[:, 0], "same")
    mask = np.outer(profile, profile).astype(np.float32)
    return (mask - mask.min()) / (mask.max() - mask.min())


def estimate_boosted(image, model, merge, config=BOOST):
    """The authors' `estimateboost` at the sizes of `config`, for an image (H, W, 3) of floats in [0, 255]."""
    depthmap = authors(".leres.depthmap")
    source = inspect.getsource(depthmap.estimateboost).replace(
        "net_receptive_field_size = 448", f"net_receptive_field_size = {config.field}"
    )
    space = dict(vars(depthmap), pix2pixsize=config.merge_side, generatemask=soft_window, print=lambda *_: None)
    for name, value in vars(depthmap).items():  # so that they share the numbers that they keep in globals
        if inspect.isfunction(value) and value.__module__ == depthmap.__name__ and name != "generatemask":
            space[name] = types.FunctionType(value.__code__, space, name, value.__defaults__)
    (code,) = (each for each in compile(source, "estimateboost", "exec").co_consts if isinstance(each, types.CodeType))
    boosted = types.FunctionType(code, space, "estimateboost", depthmap.estimateboost.__defaults__)
    return boosted(image, model, 0, Merging(merge), max(image.shape[:2]), config.greatest_side)
