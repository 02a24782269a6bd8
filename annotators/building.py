"""Networks built and filled from state dicts, strictly, and the libraries that only some families need."""

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

from ..options.packages import how_to_install
from .networks.latent_diffusion import LatentDiffusion, describe_unet, vae_to_diffusers
from .networks.layers import exact_group_norms
from .networks.published import PublishedNetwork, StateDict
from .specs.base import CheckpointError, ModelSpec, printable
from .specs.diffusion import DiffusionConfig


def count_keys(by_kind: Mapping[str, Iterable[str]]) -> list[str]:
    """The number of a checkpoint's keys of each kind in words, with the first of them; a kind without keys is left out."""
    ordered = {kind: sorted(keys) for kind, keys in by_kind.items()}
    return [f"{len(keys)} {kind} keys (first: {printable(keys[0])})" for kind, keys in ordered.items() if keys]


def checkpoint_mismatch(expected: StateDict, found: StateDict) -> str | None:
    """The reason, in words, why `found` cannot be loaded as `expected`; None if it can."""
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
    """Gives a network that was built on the meta device its tensors. They are taken as they are, not copied.

    Args:
        network: A module with no memory behind its parameters and buffers.
        state: What is to become of them.
        complaint: The message for a file of other tensors: "not a checkpoint of tiny". The first that differ are added.

    Raises:
        CheckpointError: The tensors are not exactly the network's.
    """
    if mismatch := checkpoint_mismatch(network.state_dict(), state):
        raise CheckpointError(f"{complaint}: {mismatch}")
    network.load_state_dict(dict(state), assign=True)


def build_published(make: Callable[[], PublishedNetwork], state: StateDict, dtype: torch.dtype, complaint: str) -> nn.Module:
    """A network filled with its authors' checkpoint, strictly, on the CPU.

    Args:
        make: Makes the network; called with torch's meta device.
        state: The published state dict.
        dtype: What the network computes in.
        complaint: As `fill`.

    Raises:
        CheckpointError: As `fill`.
    """
    with torch.device("meta"):
        network = make()
    fill(network, network.official_names(state), complaint)
    network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs lack it
    network.set_dtype(dtype)
    return network


# from_pretrained replaces functions of torch.nn.init while it works and puts back what it found: two at once would put back the wrong ones.
_one_at_a_time = threading.Lock()

# The oldest versions with which the families' tests pass. They are checked where a model needs them, and not when the pack is installed:
# ComfyUI and other packs may rely on older ones.
_OLDEST = {"transformers": "4.45", "diffusers": "0.33"}
# What comes with diffusers, and would be upgraded though the installed transformers and others may need the version that is there.
_KEPT = ("huggingface_hub", "safetensors", "numpy", "typing_extensions")


def from_transformers(*names: str) -> tuple[Any, ...]:
    """Classes of the transformers library.

    Raises:
        ImportError: The library is absent, too old, or broken by a torchvision that does not fit torch; the message says how to fix it.
    """
    return _from_library("transformers", names, how_to_install(f"transformers>={_OLDEST['transformers']}"))


def from_diffusers(*names: str) -> tuple[Any, ...]:
    """Classes of the diffusers library.

    Raises:
        ImportError: As `from_transformers`.
    """
    return _from_library("diffusers", names, how_to_install_diffusion())


def how_to_install_diffusion() -> str:
    """The command that installs what the extra `[diffusion]` lists, into the Python that runs here: ComfyUI's own, inside ComfyUI.

    It names packages that are installed with their versions: pip then takes a diffusers that fits them, and leaves them as they are.
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
    """The reason why a library cannot be imported, with what to do; `remedy` is for where it is absent or too old."""
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
    """A network of the transformers library, filled strictly, and through its from_pretrained: that applies the renamings between versions.

    Args:
        network_class: A model class of the library (see `from_transformers`), or one derived from it.
        config: Its configuration.
        state: Tensors under the names that files on the hub have. Of torch's meta device they are compared alone, and so is the network.
        model_id: The model's name, for the message.

    Raises:
        CheckpointError: The tensors are not exactly the network's; the message names the first that differ.
    """
    known_by_shape = bool(state) and all(value.is_meta for value in state.values())
    if known_by_shape:
        state = _stand_ins(network_class, config, state, model_id)
    try:
        network, report = _fill(network_class, config, state)
    except ValueError as error:  # version 4 gives up at once where not even the prefix of the keys fits
        raise CheckpointError(
            f"not a checkpoint of {model_id}: its keys (first: {min(state, default=None)}) are another network's"
        ) from error
    kinds = ("unexpected", "missing", "mismatched")
    parts = count_keys({kind: (str(key[0] if isinstance(key, tuple) else key) for key in report[f"{kind}_keys"]) for kind in kinds})
    if parts:
        raise CheckpointError(f"not a checkpoint of {model_id}: {', '.join(parts)}")
    return network.to("meta") if known_by_shape else network


def on_meta_device(network_class: Any, config: Any) -> Any:
    """A network of the transformers library whose tensors take no memory.

    Args:
        network_class, config: As in `from_state_dict`.
    """
    with torch.device("meta"), _NumbersOnCpu():
        return network_class(config)


class _NumbersOnCpu(TorchFunctionMode):
    """Leaves `torch.linspace` on the CPU: older versions of transformers read numbers from one, and on the meta device there are none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.linspace:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def _stand_ins(network_class: Any, config: Any, state: StateDict, model_id: str) -> dict[str, torch.Tensor]:
    """Tensors of these names and shapes that take no memory, for from_pretrained, which takes none of the meta device.

    Raises:
        CheckpointError: Too few have the shapes of the network's parameters: from_pretrained would make those, in full, by chance.
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
    """The network and the library's report, without its log and progress bars."""
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


def build_network(spec: ModelSpec, states: Mapping[str, StateDict], dtype: torch.dtype) -> LatentDiffusion:
    """The parts of a spec, built on the CPU from their state dicts, strictly.

    Args:
        spec: Its `config` is a `DiffusionConfig`.
        states: By role: "network" (the UNet), "vae", and "text_encoder" where the UNet takes a prompt.
        dtype: What it computes in; the VAE in float32 where its values leave float16.

    Raises:
        CheckpointError: A part is absent, in float8, or of another architecture; the message says which.
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
    """Refuses the UNet of a spec, and the VAE where the file has one, as `build_network` does; names and shapes are enough.

    Raises:
        CheckpointError: As `build_network`.
    """
    unet_class, vae_class = from_diffusers("UNet2DConditionModel", "AutoencoderKL")
    for role in states:
        _check_there(spec, role, states[role])
    _load_unet(spec, unet_class, states["network"], torch.float32)
    if "vae" in states:
        _load_vae(spec, vae_class, states["vae"], torch.float32)


def prompt_embedding(spec: ModelSpec, state: StateDict) -> Tensor:
    """(tokens, width) float32: what the text encoder of a spec makes of its prompt.

    Raises:
        CheckpointError: The tensors are not those of the text encoder.
    """
    model_class, config_class = from_transformers("CLIPTextModel", "CLIPTextConfig")
    # published files have the prefix, those that transformers 5 saves have not; position_ids is a buffer that older ones hold
    used = {key.removeprefix("text_model."): value.float() for key, value in state.items() if not key.endswith("position_ids")}
    prefixed = {f"text_model.{key}": value for key, value in used.items()}
    try:
        encoder = from_state_dict(model_class, config_class(**spec.config.text_encoder), prefixed, f"the text encoder of {spec.id}")
    except CheckpointError as error:
        raise CheckpointError(f"given a text encoder that does not fit: {error}") from error
    with torch.no_grad():
        return encoder.train(False)(torch.tensor([spec.config.prompt]))[0][0]


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
