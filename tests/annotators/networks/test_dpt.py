import pytest
import torch
import torch.nn.functional as F

from depth_normal.annotators.networks.dpt import Fusion, as_fusion


def maps(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def enlarged_first(fusion, path, finer, size):
    if finer is not None:
        path = path + fusion.resConfUnit1(finer)
    return fusion.out_conv(F.interpolate(fusion.resConfUnit2(path), size, mode="bilinear", align_corners=True))


@pytest.mark.parametrize("joins", [True, False], ids=["with a finer map", "the coarsest"])
@pytest.mark.parametrize("size", [None, (7, 9)], ids=["twice as large", "by a size"])
@torch.no_grad()
def test_a_fusion_convolves_before_it_enlarges_and_gives_the_same(size, joins):
    fusion = Fusion(8, 4, joins)
    path, finer = maps(2, 8, 4, 5), maps(2, 8, 4, 5) * 2 if joins else None
    sizes = []
    fusion.out_conv.register_forward_hook(lambda _module, args, _result: sizes.append(args[0].shape[-2:]))
    found = fusion(path, finer, size)
    assert sizes == [(4, 5)]
    torch.testing.assert_close(found, enlarged_first(fusion, path, finer, size or (8, 10)), rtol=0, atol=1e-5)


@pytest.mark.slow("takes a second")
@pytest.mark.parametrize("family", ["dpt.modeling_dpt.DPT", "zoedepth.modeling_zoedepth.ZoeDepth"])
@torch.no_grad()
def test_a_layer_of_transformers_keeps_its_parameters_and_its_maps(family):
    transformers = pytest.importorskip("transformers")
    module, _, name = family.rpartition(".")
    parts = pytest.importorskip(f"transformers.models.{module}")
    config = getattr(transformers, f"{name}Config")(fusion_hidden_size=8, use_batch_norm_in_fusion_residual=False)
    layer = getattr(parts, f"{name}FeatureFusionLayer")(config).eval()
    fusion = as_fusion(layer)
    assert not fusion.training
    assert {id(each) for each in fusion.parameters()} == {id(each) for each in layer.parameters()}
    path, finer = maps(2, 8, 4, 5), maps(2, 8, 4, 5) * 2
    for given in ((path,), (path, finer)):
        torch.testing.assert_close(fusion(*given), layer(*given), rtol=0, atol=1e-5)
