"""DINOv2's vision transformer, as in all versions of Depth Anything, with additions for version 3's alternating networks and Metric3D.

Parameter names are the official checkpoints'.

Source:
    Oquab et al., "DINOv2" (2023), code facebookresearch/dinov2; Lin et al., "Depth Anything 3" (2025), code
    ByteDance-Seed/Depth-Anything-3; rotary positions: Heo et al., "Rotary Position Embedding for Vision Transformer" (2024).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .configs import VitConfig
from .layers import Linear, attended, resized_positions
from .published import StateDict, rename

PATCH = 14
"""Default side of a token's patch in pixels; see `VitConfig.patch`."""
_ROPE_BASE = 100.0


class _PatchEmbedding(nn.Module):
    def __init__(self, width: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int, normalised: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width)
        self.q_norm = nn.LayerNorm(width // heads) if normalised else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads) if normalised else nn.Identity()
        self.proj = Linear(width, width)

    def forward(self, tokens: Tensor, angles: Tensor | None) -> Tensor:
        # (B, tokens, 3 * width) to three of (B, heads, tokens, width of a head)
        query, key, value = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = self.q_norm(query), self.k_norm(key)
        if angles is not None:
            query, key = _rotate(query, angles), _rotate(key, angles)
        return self.proj(attended(query, key, value).transpose(1, 2).flatten(2))


class _Scale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.fc1 = Linear(width, 4 * width)
        self.fc2 = Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class _SwiGlu(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        inner = -(-(4 * width * 2 // 3) // 8) * 8
        self.w12 = Linear(width, 2 * inner)
        self.w3 = Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, -1)
        return self.w3(F.silu(gate) * value)


class _Block(nn.Module):
    def __init__(self, config: VitConfig, alternating: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(config.width, eps=config.block_eps)
        self.attn = _Attention(config.width, config.heads, normalised=alternating)
        self.ls1 = _Scale(config.width)
        self.norm2 = nn.LayerNorm(config.width, eps=config.block_eps)
        self.mlp = _SwiGlu(config.width) if config.swiglu else _Mlp(config.width)
        self.ls2 = _Scale(config.width)

    def forward(self, tokens: Tensor, angles: Tensor | None) -> Tensor:
        tokens = tokens + self.ls1(self.attn(self.norm1(tokens), angles))
        return tokens + self.ls2(self.mlp(self.norm2(tokens)))


class VisionTransformer(nn.Module):
    """DINOv2, for images of any size.

    Convention:
        Input (B, 3, H, W), normalised by ImageNet's mean and deviation, H and W multiples of `config.patch`.
    """

    def __init__(self, config: VitConfig) -> None:
        super().__init__()
        self.config = config
        first = config.depth if config.alternating_from is None else config.alternating_from
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, config.grid**2 + 1, config.width))
        if config.alternating_from is not None:
            self.camera_token = nn.Parameter(torch.zeros(1, 2, config.width))  # of the reference view, and of the others
        if config.registers:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.registers, config.width))
        self.patch_embed = _PatchEmbedding(config.width, config.patch)
        self.blocks = nn.ModuleList(_Block(config, alternating=index >= first) for index in range(config.depth))
        self.norm = nn.LayerNorm(config.width, eps=config.norm_eps)

    def forward(self, x: Tensor, one_scene: bool = False) -> tuple[list[Tensor], Tensor]:
        """Features of normalised images; see the class. Of views of `one_scene`, an alternating network's global blocks attend across all.

        Returns:
            Normalised maps (B, channels, H / patch, W / patch), one per taken block; and token 0 of the last block (B, channels), not
            normalised. For an alternating network, channels are the last local block's, never normalised, then the taken block's.
        """
        rows, columns = x.shape[-2] // self.config.patch, x.shape[-1] // self.config.patch
        tokens = self._embedded(x)
        alternating_from = self.config.alternating_from
        angles, local = (None, None), tokens
        features = []
        before = tokens[:, 0]  # token 0 before the last block
        for index, block in enumerate(self.blocks):
            if index == alternating_from:
                tokens = torch.cat((self._cameras(before, one_scene), tokens[:, 1:]), 1)
                angles = _angles(rows, columns, self.config.width // self.config.heads, x.device, len(x) if one_scene else 1)
            is_global = alternating_from is not None and index >= alternating_from and index % 2 == 1
            before = tokens[:, 0]
            together = tokens.flatten(0, 1)[None] if is_global and one_scene else tokens
            tokens = block(together, angles[is_global]).view_as(tokens)
            local = local if is_global else tokens
            if index in self.config.taken:
                taken = self.norm(tokens)
                if alternating_from is not None:
                    taken = torch.cat((local, taken), -1)
                features.append(taken[:, 1 + self.config.registers :].transpose(1, 2).unflatten(2, (rows, columns)))
        last = tokens[:, 0] if alternating_from is None else torch.cat((local[:, 0], tokens[:, 0]), -1)
        return features, last

    def _positions(self, rows: int, columns: int) -> Tensor:
        """The position embedding (1, 1 + rows * columns, width), resized to another grid."""
        patches = self.pos_embed[:, 1:].float().unflatten(1, (self.config.grid,) * 2).permute(0, 3, 1, 2)
        resized = resized_positions(patches, rows, columns, self.config.position_offset).flatten(2).transpose(1, 2)
        return torch.cat((self.pos_embed[:, :1], resized.to(self.pos_embed.dtype)), 1)

    def tokens(self, x: Tensor) -> list[Tensor]:
        """All tokens (B, 1 + registers + patches, width) of each taken block, not normalised: class token, registers, patches.

        For networks without version 3's additions.
        """
        tokens, taken = self._embedded(x), []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, None)
            if index in self.config.taken:
                taken.append(tokens)
        return taken

    def _embedded(self, x: Tensor) -> Tensor:
        """The tokens before the first block. Registers have no position and are inserted afterwards."""
        rows, columns = x.shape[-2] // self.config.patch, x.shape[-1] // self.config.patch
        tokens = torch.cat((self.cls_token.expand(x.shape[0], -1, -1), self.patch_embed(x)), 1) + self._positions(rows, columns)
        if not self.config.registers:
            return tokens
        return torch.cat((tokens[:, :1], self.register_tokens.expand(x.shape[0], -1, -1), tokens[:, 1:]), 1)

    def _cameras(self, first_tokens: Tensor, one_scene: bool) -> Tensor:
        """The camera token of each image, (B, 1, width), chosen by its token 0."""
        reference, other = self.camera_token.split(1, 1)
        if not one_scene:
            return reference.expand(first_tokens.shape[0], -1, -1)
        return torch.where(_is_other_view(first_tokens)[:, None, None], other, reference)


def _is_other_view(tokens: Tensor) -> Tensor:
    """Which views of a scene are not its reference, (B,) bool, from token 0 of each (B, width).

    Of two views the first is the reference; of more, the one nearest to mid-range in similarity to the others, norm and variance.
    """
    count = len(tokens)
    places = torch.arange(count, device=tokens.device)
    if count < 3:
        return places > 0
    lengths = tokens.float().norm(dim=-1)
    units = tokens.float() / lengths[:, None]
    likeness = (units @ units.T - torch.eye(count, device=tokens.device)).sum(-1) / (count - 1)
    measures = torch.stack((likeness, lengths, units.var(-1)))
    low, high = measures.aminmax(dim=1, keepdim=True)
    return places != ((measures - low) / (high - low + 1e-8) - 0.5).abs().sum(0).argmin()


def _angles(rows: int, columns: int, head_width: int, device: torch.device, views: int) -> tuple[Tensor, Tensor]:
    """Rotary angles (tokens, 2, head_width / 4) by row and column: local blocks use each patch's position, global ones (1, 1) for all.

    Global blocks attend to the concatenated tokens of `views` images.
    """
    half = head_width // 2
    frequencies = _ROPE_BASE ** -(torch.arange(0, half, 2, dtype=torch.float32, device=device) / half)
    places = torch.cartesian_prod(torch.arange(rows, device=device), torch.arange(columns, device=device)) + 1
    local = F.pad(places, (0, 0, 1, 0))  # token 0 is at (0, 0)
    return local[..., None] * frequencies, local.clamp(max=1).repeat(views, 1)[..., None] * frequencies


def _rotate(vectors: Tensor, angles: Tensor) -> Tensor:
    """Rotates (B, heads, tokens, head_width): the first half of each vector by the row's angles, the second half by the column's."""
    first, second = vectors.float().unflatten(-1, (2, 2, -1)).unbind(-2)
    cos, sin = angles.cos(), angles.sin()
    return torch.stack((first * cos - second * sin, second * cos + first * sin), -2).flatten(-3).to(vectors.dtype)


HUB_BLOCKS = (
    (r"\.attention\.attention\.(query|key|value)\.", r".attn.\1."),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    # other names in transformers 5
    (r"\.attention\.q_proj\.", ".attn.query."),
    (r"\.attention\.k_proj\.", ".attn.key."),
    (r"\.attention\.v_proj\.", ".attn.value."),
    (r"\.attention\.o_proj\.", ".attn.proj."),
    (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
)
"""Rules from transformers' names within the transformer's blocks, in its files and in memory, to the authors'."""
_HUB_NAMES = (
    (r"^backbone\.embeddings\.patch_embeddings\.projection\.", "pretrained.patch_embed.proj."),
    (r"^backbone\.embeddings\.position_embeddings$", "pretrained.pos_embed"),
    (r"^backbone\.embeddings\.", "pretrained."),
    (r"^backbone\.layernorm\.", "pretrained.norm."),
    (r"^backbone\.encoder\.layer\.", "pretrained.blocks."),
    *HUB_BLOCKS,
    (r"\.attention\.([qk]_norm)\.", r".attn.\1."),
    (r"\.mlp\.weights_in\.", ".mlp.w12."),
    (r"\.mlp\.weights_out\.", ".mlp.w3."),
)


def hub_to_official(state: StateDict) -> dict[str, Tensor]:
    """Renames transformers' parameters of the transformer (`backbone.*`) to the authors' (`pretrained.*`)."""
    renamed = {rename(key, _HUB_NAMES) if key.startswith("backbone.") else key: value for key, value in state.items()}
    return with_joined_attention(renamed)


def with_joined_attention(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Joins queries, keys and values into the authors' single matrix, in place."""
    for key in [key for key in state if ".attn.query." in key]:
        parts = [key.replace(".query.", f".{name}.") for name in ("query", "key", "value")]
        if all(part in state for part in parts):
            state[key.replace(".query.", ".qkv.")] = torch.cat([state.pop(part) for part in parts])
    return state
