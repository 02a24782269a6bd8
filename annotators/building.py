"""Builds networks from state dicts, strictly: the pack's, transformers' and, for the diffusion families, diffusers'.

These two libraries, which only some families need, are imported here.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from ..options.checks import how_to_install
from .networks.layers import exact_group_norms
from .networks.published import PublishedNetwork, Rule, StateDict, rename
from .specs.base import CheckpointError, ModelSpec, printable
from .specs.diffusion import DiffusionConfig


def count_keys(by_kind: Mapping[str, Iterable[str]]) -> list[str]:
    """Phrases that count a checkpoint's keys of each kind, with an example; kinds without keys are omitted."""
    ordered = {kind: sorted(keys) for kind, keys in by_kind.items()}
    return [f"{len(keys)} {kind} keys (first: {printable(keys[0])})" for kind, keys in ordered.items() if keys]


def checkpoint_mismatch(expected: StateDict, found: StateDict) -> str | None:
    """Why `found` cannot be loaded as `expected`; None if it can."""
    shared = expected.keys() & found.keys()
    differing = sorted(key for key in shared if expected[key].shape != found[key].shape)
    parts = count_keys({"unexpected": found.keys() - expected.keys(), "missing": expected.keys() - found.keys()})
    if differing:
        key = differing[0]
        shapes = f"{tuple(found[key].shape)} instead of {tuple(expected[key].shape)}"
        parts.append(f"{len(differing)} tensors of another shape (first: {key}, {shapes})")
    if whole := sorted(key for key in shared if expected[key].is_floating_point() and not found[key].is_floating_point()):
        parts.append(f"{len(whole)} tensors of {found[whole[0]].dtype} in place of floating point numbers (first: {whole[0]}): quantised?")
    return ", ".join(parts) or None


def fill(network: nn.Module, state: StateDict, complaint: str) -> None:
    """Loads a state dict into a network on the meta device, strictly and without copying.

    Raises:
        CheckpointError: The tensors differ; says how, after the `complaint` ("not a checkpoint of tiny").
    """
    if mismatch := checkpoint_mismatch(network.state_dict(), state):
        raise CheckpointError(f"{complaint}: {mismatch}")
    network.load_state_dict(dict(state), assign=True)


def build_published(make: Callable[[], PublishedNetwork], state: StateDict, dtype: torch.dtype, complaint: str) -> nn.Module:
    """Builds a network, which `make` makes under torch's meta device, from its authors' state dict on the CPU; strict as `fill`."""
    with torch.device("meta"):
        network = make()
    fill(network, network.official_names(state), complaint)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs lack it
    network.set_dtype(dtype)
    return network


# from_pretrained temporarily replaces functions of torch.nn.init: two threads at once would restore the wrong ones.
_one_at_a_time = threading.Lock()

# Oldest versions that pass the families' tests. Checked when a model needs them, not at installation, as ComfyUI and other packs may need
# older ones.
_OLDEST = {"transformers": "4.45", "diffusers": "0.33"}
# Dependencies of diffusers to pin: an upgrade might break transformers and other packages.
_KEPT = ("huggingface_hub", "safetensors", "numpy", "typing_extensions")


def from_transformers(*names: str) -> tuple[Any, ...]:
    """Classes of the transformers library.

    Raises:
        ImportError: It is missing, too old, or broken by a torchvision that does not match torch; the message says how to fix it.
    """
    return _from_library("transformers", names, how_to_install(f"transformers>={_OLDEST['transformers']}"))


def from_diffusers(*names: str) -> tuple[Any, ...]:
    """Classes of the diffusers library; raises as `from_transformers`."""
    return _from_library("diffusers", names, how_to_install_diffusion())


def how_to_install_diffusion() -> str:
    """The command that installs the extra `[diffusion]` into the running Python; inside ComfyUI that is ComfyUI's own.

    It pins installed packages to their versions, so that pip picks a diffusers that fits them and leaves them unchanged.
    """
    wanted = [f"diffusers>={_OLDEST['diffusers']}", "scipy>=1.11"]
    for name in _KEPT:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            wanted.append(f"{name}=={importlib.metadata.version(name)}")
    return how_to_install(*wanted)


def _numbers(version: str) -> tuple[int, ...]:
    """(4, 45) of "4.45.0.dev0"."""
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


def _from_library(library: str, names: tuple[str, ...], remedy: str) -> tuple[Any, ...]:
    try:
        module = importlib.import_module(library)
        if _numbers(module.__version__) < _numbers(_OLDEST[library]):
            raise ImportError(f"version {module.__version__} is installed, {_OLDEST[library]} or newer is needed")
        return tuple(getattr(module, name) for name in names)
    except (ImportError, RuntimeError, AttributeError) as error:
        raise ImportError(_explain_import_error(library, error, remedy)) from error


def _explain_import_error(library: str, error: BaseException, remedy: str) -> str:
    """Why a library cannot be imported and what to do; `remedy` is for a missing or outdated library."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    if any("torchvision" in str(each) for each in causes):
        return (
            f"the {library} library cannot be imported because the installed torchvision does not fit torch {torch.__version__} "
            f"({causes[-1]}). Install the torchvision made for this torch, or remove it (pip uninstall torchvision): "
            "this pack does not need it"
        )
    return f"the {library} library cannot be imported ({causes[-1]}): {remedy}"


def from_state_dict(network_class: Any, config: Any, state: StateDict, model_id: str) -> Any:
    """Builds a network of the transformers library, strictly, through from_pretrained, which renames keys between versions.

    Args:
        network_class, config: A model class of the library (see `from_transformers`), or a subclass, and its configuration.
        state: Tensors under the hub's names. If they are meta tensors, only names and shapes are compared, and the network is meta too.
        model_id: The model's name, for the message.

    Raises:
        CheckpointError: The tensors do not match exactly; the message names the first mismatches.
    """
    known_by_shape = bool(state) and all(value.is_meta for value in state.values())
    if known_by_shape:
        state = _stand_ins(network_class, config, state, model_id)
    try:
        network, report = _fill(network_class, config, state)
    except ValueError as error:  # version 4 raises at once if not even the keys' prefix fits
        raise CheckpointError(
            f"not a checkpoint of {model_id}: its keys (first: {min(state, default=None)}) are another network's"
        ) from error
    kinds = ("unexpected", "missing", "mismatched")
    parts = count_keys({kind: (str(key[0] if isinstance(key, tuple) else key) for key in report[f"{kind}_keys"]) for kind in kinds})
    if parts:
        raise CheckpointError(f"not a checkpoint of {model_id}: {', '.join(parts)}")
    return network.to("meta") if known_by_shape else network


def on_meta_device(network_class: Any, config: Any) -> Any:
    """A network of the transformers library on the meta device; arguments as in `from_state_dict`."""
    with torch.device("meta"), _NumbersOnCpu():
        return network_class(config)


class _NumbersOnCpu(TorchFunctionMode):
    """Keeps `torch.linspace` on the CPU: older versions of transformers read values from it, which meta tensors lack."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def _stand_ins(network_class: Any, config: Any, state: StateDict, model_id: str) -> dict[str, torch.Tensor]:
    """Memory-free tensors of these names and shapes, as from_pretrained accepts no meta tensors.

    Raises:
        CheckpointError: Shapes of the network's parameters are missing: from_pretrained would allocate and randomly initialise those.
    """
    network = on_meta_device(network_class, config)
    of_network, of_file = (Counter(tuple(each.shape) for each in tensors) for tensors in (network.parameters(), state.values()))
    if absent := of_network - of_file:
        raise CheckpointError(f"not a checkpoint of {model_id}: {absent.total()} tensors missing (the first of shape {min(absent)})")
    return {
        name: torch.zeros((), dtype=torch.float32 if value.is_floating_point() else value.dtype, device="cpu").expand(value.shape)
        for name, value in state.items()
    }


def _fill(network_class: Any, config: Any, state: StateDict) -> tuple[Any, dict[str, Any]]:
    """The network and the library's loading report, without its log and progress bars."""
    transformers_logging = importlib.import_module("transformers.utils.logging")
    with _one_at_a_time:
        verbosity, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        try:
            return network_class.from_pretrained(
                None, config=config, state_dict=dict(state), output_loading_info=True, ignore_mismatched_sizes=True
            )
        finally:
            transformers_logging.set_verbosity(verbosity)
            if bars:
                transformers_logging.enable_progress_bar()


class LatentDiffusion(nn.Module):
    """UNet, VAE and the prompt's embedding (tokens, width) in one module for the memory manager."""

    prompt: Tensor | None

    def __init__(self, unet: nn.Module, vae: nn.Module, prompt: Tensor | None) -> None:
        super().__init__()
        self.unet = unet
        self.vae = vae
        self.register_buffer("prompt", prompt, persistent=False)


_TEXT_WIDTHS = {768: "SD 1", 1024: "SD 2", 2048: "SDXL"}


def describe_unet(state: StateDict) -> str:
    """Describes the kind of UNet in a state dict."""
    if any(key.startswith(("model.diffusion_model.", "input_blocks.", "diffusion_model.")) for key in state):
        return "a UNet with the names of the original Stable Diffusion (or a whole checkpoint) instead of diffusers'"
    if "conv_in.weight" not in state:
        return "no UNet of diffusers"
    channels = state["conv_in.weight"].shape[1]
    # attention keys of the middle block: in a UNet without text they are as wide as its deepest level
    deepest = state.get("mid_block.attentions.0.transformer_blocks.0.attn2.to_k.weight")
    width = 0 if deepest is None else deepest.shape[1]
    text = "no text" if deepest is not None and width == deepest.shape[0] else f"text of width {width}"
    kind = f" ({_TEXT_WIDTHS[width]})" if width in _TEXT_WIDTHS else ""
    task = "a" if "class_embedding.linear_1.weight" in state else "no"
    return f"a UNet with {channels} input channels, {text}{kind} and {task} task embedding"


_VAE_RULES = (
    (r"^first_stage_model\.", ""),
    (r"^encoder\.down\.(\d)\.block\.(\d)\.", r"encoder.down_blocks.\1.resnets.\2."),
    (r"^encoder\.down\.(\d)\.downsample\.", r"encoder.down_blocks.\1.downsamplers.0."),
    (r"^decoder\.up\.(\d)\.block\.(\d)\.", r"decoder.up_blocks.{\1}.resnets.\2."),
    (r"^decoder\.up\.(\d)\.upsample\.", r"decoder.up_blocks.{\1}.upsamplers.0."),
    (r"\.nin_shortcut\.", ".conv_shortcut."),
    (r"\.mid\.block_1\.", ".mid_block.resnets.0."),
    (r"\.mid\.block_2\.", ".mid_block.resnets.1."),
    (r"\.mid\.attn_1\.", ".mid_block.attentions.0."),
    (r"\.norm_out\.", ".conv_norm_out."),
    # names of the original, and of diffusers before 0.18
    (r"(\.attentions\.0)\.norm\.", r"\1.group_norm."),
    (r"(\.attentions\.0)\.(?:q|query)\.", r"\1.to_q."),
    (r"(\.attentions\.0)\.(?:k|key)\.", r"\1.to_k."),
    (r"(\.attentions\.0)\.(?:v|value)\.", r"\1.to_v."),
    (r"(\.attentions\.0)\.(?:proj_out|proj_attn)\.", r"\1.to_out.0."),
)
_VAE_TRAINING = re.compile(r"^(loss|model_ema)\.")


def vae_to_diffusers(state: StateDict, levels: int) -> dict[str, Tensor]:
    """Renames a VAE's state dict, from the original Stable Diffusion or any diffusers, to current diffusers.

    The attention's 1x1 convolutions become matrices, training-only entries are dropped. `levels` is the number of the VAE's resolutions.
    """
    # the original counts the decoder's levels from the finest
    from_the_finest: Rule = (r"\{(\d)\}", lambda match: str(levels - 1 - int(match[1])))
    renamed = {rename(key, (*_VAE_RULES, from_the_finest)): value for key, value in state.items() if not _VAE_TRAINING.match(key)}
    return {key: value.flatten(1) if ".attentions." in key and value.ndim == 4 else value for key, value in renamed.items()}


def build_network(spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> LatentDiffusion:
    """Builds the networks of a diffusion spec on the CPU from their state dicts, strictly. A VAE that overflows float16 gets float32.

    Args:
        states: By role: "network" (the UNet), "vae", and "text_encoder" if the UNet takes a prompt.

    Raises:
        CheckpointError: A part is missing, in float8, or of another architecture; the message names it.
    """
    config: DiffusionConfig = spec.config
    for role in ("network", "vae", *(("text_encoder",) if config.text_encoder else ())):
        _check_there(spec, role, states.get(role))
    unet_class, vae_class = from_diffusers("UNet2DConditionModel", "AutoencoderKL")
    unet = _load_unet(spec, unet_class, states["network"], dtype)
    vae = _load_vae(spec, vae_class, states["vae"], torch.float32 if dtype == torch.float16 and not config.float16_vae else dtype)
    prompt = prompt_embedding(spec, states["text_encoder"]).to(dtype) if config.text_encoder else None
    for part in (unet, vae):
        exact_group_norms(part)
    return LatentDiffusion(unet, vae, prompt)


def check_network(spec: ModelSpec, states: Mapping[str, StateDict]) -> None:
    """Checks the UNet, and the VAE if the file has one, as `build_network`; names and shapes suffice."""
    unet_class, vae_class = from_diffusers("UNet2DConditionModel", "AutoencoderKL")
    for role in states:
        _check_there(spec, role, states[role])
    _load_unet(spec, unet_class, states["network"], torch.float32)
    if "vae" in states:
        _load_vae(spec, vae_class, states["vae"], torch.float32)


def prompt_embedding(spec: ModelSpec, state: StateDict) -> Tensor:
    """(tokens, width) float32: the embedding of a spec's prompt by its text encoder; raises a CheckpointError if `state` is another's."""
    model_class, config_class = from_transformers("CLIPTextModel", "CLIPTextConfig")
    # published files have the prefix, files saved by transformers 5 do not; older ones contain the buffer position_ids
    used = {key.removeprefix("text_model."): value.float() for key, value in state.items() if not key.endswith("position_ids")}
    prefixed = {f"text_model.{key}": value for key, value in used.items()}
    try:
        encoder = from_state_dict(model_class, config_class(**spec.config.text_encoder), prefixed, f"the text encoder of {spec.id}")
    except CheckpointError as error:
        raise CheckpointError(f"given a text encoder that does not fit: {error}") from error
    with torch.no_grad():
        return encoder.train(False)(torch.tensor([spec.config.prompt], device="cpu"))[0][0]


def _load_unet(spec: ModelSpec, unet_class: Any, state: StateDict, dtype: torch.dtype) -> nn.Module:
    with torch.device("meta"):
        unet = unet_class(**spec.config.unet)
    of_file, of_network = describe_unet(state), describe_unet(unet.state_dict())
    fill(unet, _in(dtype, state), f"not a UNet of {spec.id}: found {of_file}, expected {of_network}")
    return unet


def _load_vae(spec: ModelSpec, vae_class: Any, state: StateDict, dtype: torch.dtype) -> nn.Module:
    with torch.device("meta"):
        vae = vae_class(**spec.config.vae)
    state = vae_to_diffusers(state, levels=len(spec.config.vae["block_out_channels"]))
    fill(vae, _in(dtype, state), f"given a VAE that is not the one of {spec.id}")
    return vae


def _in(dtype: torch.dtype, state: StateDict) -> StateDict:
    return {key: value.to(dtype) for key, value in state.items()}


def _check_there(spec: ModelSpec, role: str, state: StateDict | None) -> None:
    part = role.replace("_", " ")
    if state is None:
        raise CheckpointError(f"used without a {part}, which {spec.id} needs: give the weights of the role {role!r}")
    dtype = next((value.dtype for value in state.values() if value.is_floating_point() and value.element_size() == 1), None)
    if dtype is not None:
        raise CheckpointError(f"given a {part} stored in {dtype}; {spec.id} takes float16, bfloat16 or float32")
