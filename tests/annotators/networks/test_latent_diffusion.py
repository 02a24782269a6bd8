import pytest
import torch

from depth_normal.annotators.networks.latent_diffusion import vae_to_diffusers
from depth_normal.annotators.specs.diffusion import SD_VAE

diffusers = pytest.importorskip("diffusers", reason="the names are those of diffusers (extra [diffusion])")


@pytest.mark.slow("takes most of a second")
def test_a_vae_with_the_names_of_older_diffusers_gets_todays():
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    with torch.device("meta"):
        expected = diffusers.AutoencoderKL(**SD_VAE).state_dict()
    state = {}
    for key, value in expected.items():
        new = key
        for today, then in old.items():
            new = new.replace(f"attentions.0.{today}.", f"attentions.0.{then}.")
        state[new] = value
    assert state.keys() != expected.keys()
    assert {key: id(value) for key, value in vae_to_diffusers(state, 4).items()} == {key: id(value) for key, value in expected.items()}
