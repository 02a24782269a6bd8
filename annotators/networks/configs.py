"""Architecture sizes, separate from the networks' code, so that the table of models is read without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VitConfig:
    """An architecture of the vision transformer.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        heads: Attention heads per block.
        taken: Indices, from 0, of the blocks whose outputs are returned.
        swiglu: Whether the MLPs are gated (the giant network).
        alternating_from: Index of the first block with version 3's additions; None = none. Queries and keys are normalised and rotated by
            position, blocks of odd index ("global") place all patches at one position, and token 0 is the camera's.
        norm_eps: Of the last normalisation.
        grid: Side of the checkpoint's position grid.
        registers: Tokens between the class token and the patches, without positions.
        block_eps: Of the blocks' normalisations.
        position_offset: As in `layers.resized_positions`: DINOv2's, with which most networks were trained.
        patch: Side of a token's patch in pixels.
    """

    width: int
    depth: int
    heads: int
    taken: tuple[int, ...]
    swiglu: bool = False
    alternating_from: int | None = None
    norm_eps: float = 1e-6
    grid: int = 37
    registers: int = 0
    block_eps: float = 1e-6
    position_offset: float = 0.1
    patch: int = 14

    @property
    def channels(self) -> int:
        """Channels of the returned features."""
        return self.width if self.alternating_from is None else 2 * self.width


@dataclass(frozen=True)
class DptConfig:
    """An architecture of the DPT head.

    Attributes:
        channels: Of the four maps, finest to coarsest.
        features: Channels of the fusion path.
        outputs: Output channels.
        positions: Whether tokens are normalised and positions added to the maps.
        sky: Whether a second output predicts the sky.
    """

    channels: tuple[int, int, int, int]
    features: int
    outputs: int = 1
    positions: bool = False
    sky: bool = False


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of tiny's network.

    Attributes:
        channels: Of the encoder at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input.
        decoder: Channels of the decoder from 1/32 to 1/4.
        head: Channels at 1/2, before the output.
        attention_blocks: Transformer blocks at 1/32.
        attention_heads: Heads of each.
        expansion: Hidden width of their MLPs as a multiple of the input's.
        fine: Channels at full size of the second version, which also predicts the sky. 0 = the first version.
    """

    channels: tuple[int, int, int, int, int] = (16, 32, 64, 128, 192)
    decoder: int = 56
    head: int = 16
    attention_blocks: int = 2
    attention_heads: int = 6
    expansion: int = 3
    fine: int = 0


TINY = TinyConfig()
TINY_2 = TinyConfig(attention_blocks=4, fine=8)


@dataclass(frozen=True)
class RefinerConfig:
    """An architecture of MoGe-3's refiner.

    Attributes:
        channels: From the finest level (a voxel per pixel of the points) to the coarsest (a cell per token); each level halves the size.
        bins: Voxels per unit of the logarithm of z.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    bins: int = 256


@dataclass(frozen=True)
class MogeConfig:
    """An architecture of versions 2 and 3.

    Attributes:
        vit: The transformer; the maps of its taken blocks are projected and summed.
        channels: Of the convolutions' five levels, from one cell per token to 16 x 16.
        neck_blocks: Residual blocks of the neck at each level.
        head_blocks: The same for each head.
        normals: Whether it has a head for normals.
        refiner: Of version 3; None = version 2.
    """

    vit: VitConfig
    channels: tuple[int, int, int, int, int]
    neck_blocks: tuple[int, int, int, int, int] = (0, 1, 1, 1, 0)
    head_blocks: tuple[int, int, int, int, int] = (0, 1, 1, 1, 0)
    normals: bool = True
    refiner: RefinerConfig | None = None


@dataclass(frozen=True)
class DsineConfig:
    """An architecture of DSINE's decoder.

    Attributes:
        features: Channels of its coarsest map; the finer ones have half and a quarter.
        state: Channels of the recurrent state.
    """

    features: int = 2048
    state: int = 64


@dataclass(frozen=True)
class Metric3dConfig:
    """An architecture of version 2.

    Attributes:
        vit: The transformer. Four taken blocks give one level each; a single one gives all four levels and is normalised.
        levels: Channels of the four levels, from the finest (1/4 of the input) to the coarsest (1/14).
        path: Channels of the fusion path at the same levels.
        hidden: Channels of the recurrent units.
        iterations: Number of their corrections.
    """

    vit: VitConfig
    levels: tuple[int, int, int, int]
    path: tuple[int, int, int, int]
    hidden: int
    iterations: int


@dataclass(frozen=True)
class ResnextConfig:
    """An architecture of ResNeXt.

    Attributes:
        blocks: Residual blocks of each stage.
        groups: Of the middle convolutions.
        group_width: Channels per group in the first stage; doubled in each further stage.
        stem: Channels of the first convolution.
        channels: Of the stages' outputs.
    """

    blocks: tuple[int, int, int, int] = (3, 4, 23, 3)
    groups: int = 32
    group_width: int = 8
    stem: int = 64
    channels: tuple[int, int, int, int] = (256, 512, 1024, 2048)


@dataclass(frozen=True)
class LeresConfig:
    """An architecture of LeReS.

    Attributes:
        encoder: Its encoder.
        features: Channels of the decoder at 1/4, 1/8, 1/16 and 1/32 of the image.
    """

    encoder: ResnextConfig = ResnextConfig()
    features: tuple[int, int, int, int] = (256, 256, 256, 512)


@dataclass(frozen=True)
class MergeConfig:
    """An architecture of the network that merges two depth maps.

    Attributes:
        levels: Number of times it halves its input.
        width: Channels of the first level; doubled in each of the next three, then constant.
    """

    levels: int = 10
    width: int = 64


@dataclass(frozen=True)
class BoostConfig:
    """LeReS and the network that merges its outputs for an image at several sizes.

    Attributes:
        leres: The depth network.
        merge: The merging network.
        field: Side of the depth network's receptive field.
        merge_side: Side of the merging network's maps.
        greatest_side: Side of the depth network's largest input.
    """

    leres: LeresConfig = LeresConfig()
    merge: MergeConfig = MergeConfig()
    field: int = 448
    merge_side: int = 1024
    greatest_side: int = 1600


@dataclass(frozen=True)
class Moge1Config:
    """An architecture of version 1.

    Attributes:
        vit: The transformer; the maps of its taken blocks are projected and summed.
        projected: Channels of that sum.
        channels: Of the three levels above it, with 2 x 2, 4 x 4 and 8 x 8 cells per token.
    """

    vit: VitConfig
    projected: int = 512
    channels: tuple[int, int, int] = (256, 128, 64)


@dataclass(frozen=True)
class Da2Config:
    """An architecture of DA².

    Attributes:
        vit: The transformer.
        width: Channels of the head.
        heads: Heads of the features' attention to directions.
    """

    vit: VitConfig
    width: int = 512
    heads: int = 8


@dataclass(frozen=True)
class DepthProConfig:
    """An architecture of Depth Pro.

    Attributes:
        vit: Of each of the three transformers. The patch encoder returns a shallow block, a deeper one and the last.
        channels: Of the decoder's four coarser input maps, finest first.
        features: Channels of the decoder and its finest map.
    """

    vit: VitConfig
    channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    features: int = 256

    @property
    def window(self) -> int:
        """Side, in pixels, of a transformer's square input."""
        return self.vit.grid * self.vit.patch

    @property
    def side(self) -> int:
        """Side, in pixels, of the network's square input."""
        return 4 * self.window


@dataclass(frozen=True)
class ZipDepthConfig:
    """An architecture of ZipDepth.

    Attributes:
        channels: Of the encoder's stages at 1/4, 1/8, 1/16 and 1/32 of the input; at 1/2 it has half of the first.
        blocks: Re-parameterised blocks per stage, not counting the downsampling one.
        decoder: Channels of the decoder at 1/4; 1.5, 2 and 3 times as many at the coarser sizes.
        half: Its channels at 1/2.
        convex: Whether pixels are convex combinations of nine coarser ones; else blends of nearest and bilinear interpolation.
    """

    channels: tuple[int, int, int, int] = (48, 96, 192, 384)
    blocks: tuple[int, int, int, int] = (2, 2, 6, 2)
    decoder: int = 96
    half: int = 32
    convex: bool = True
