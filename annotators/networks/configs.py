"""The sizes of the networks, apart from their code: the table of models is read without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VitConfig:
    """An architecture of the transformer.

    Attributes:
        width: Channels of a token.
        depth: Number of blocks.
        heads: Attention heads of a block.
        taken: Indices, from 0, of the blocks whose outputs are handed on.
        swiglu: Whether the blocks' perceptrons are gated (the giant network).
        alternating_from: Index of the first block with the additions of version 3: queries and keys are normalised and rotated by their
            positions, blocks of odd index ("global") see all patches at one position, and token 0 is the camera's. None: no such block.
        norm_eps: Of the last normalisation.
        grid: Side of the grid of positions in the checkpoint.
        registers: Tokens between the class token and the patches, without positions.
        block_eps: Of the normalisations in the blocks.
        position_offset: As `layers.resized_positions`: DINOv2's, with which most networks were trained.
        patch: Pixels along the side of one token's patch.
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
        """Channels of what is handed on."""
        return self.width if self.alternating_from is None else 2 * self.width


@dataclass(frozen=True)
class DptConfig:
    """An architecture of the head.

    Attributes:
        channels: Of the four maps, from the finest to the coarsest.
        features: Channels of the fusion path.
        outputs: Channels that come out.
        positions: Whether tokens are normalised and positions added to the maps.
        sky: Whether a second output tells the sky.
    """

    channels: tuple[int, int, int, int]
    features: int
    outputs: int = 1
    positions: bool = False
    sky: bool = False


@dataclass(frozen=True)
class TinyConfig:
    """The sizes of the network.

    Attributes:
        channels: Of the encoder at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input.
        decoder: Channels of the decoder from 1/32 to 1/4.
        head: Channels at 1/2, before the output.
        attention_blocks: Transformer blocks at 1/32.
        attention_heads: Heads of each.
        expansion: Hidden width of their perceptrons, in channels of the input.
        fine: Channels at the size of the input, which make the second version: it also tells the sky. 0 = the first version.
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
        channels: From one voxel a pixel of the points to one cell a token, each level half the one before.
        bins: Voxels per unit of the logarithm of z.
    """

    channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    bins: int = 256


@dataclass(frozen=True)
class MogeConfig:
    """An architecture of versions 2 and 3.

    Attributes:
        vit: The transformer; the maps of the blocks it hands on are projected and summed.
        channels: Of the convolutions' five levels, from one cell a token to 16 x 16.
        neck_blocks: Residual blocks of the neck at each level.
        head_blocks: The same of each head.
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
        features: Channels of its coarsest map; the finer ones have a half and a quarter.
        state: Channels that are handed from pass to pass.
    """

    features: int = 2048
    state: int = 64


@dataclass(frozen=True)
class Metric3dConfig:
    """An architecture of version 2.

    Attributes:
        vit: The transformer. Four blocks handed on make a level each; one makes all four levels, and is normalised.
        levels: Channels of the four levels, from the finest (1/4 of the input) to the coarsest (1/14).
        path: Channels of the fusion path at the same places.
        hidden: Channels of the recurrent units.
        iterations: How often these correct the maps.
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
        group_width: Channels of each group in the first stage; twice as many in each stage after it.
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
    """A network that merges two depth maps.

    Attributes:
        levels: How often it halves its input.
        width: Channels of the first level; twice as many in each of the next three, then no more.
    """

    levels: int = 10
    width: int = 64


@dataclass(frozen=True)
class BoostConfig:
    """LeReS with a network that merges its outputs for an image at several sizes.

    Attributes:
        leres: The depth network.
        merge: The merging network.
        field: Side of the square that the depth network sees as a whole.
        merge_side: Side of the square in which maps are merged.
        greatest_side: Side of the largest square shown to the depth network.
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
        vit: The transformer; the maps of the blocks it hands on are projected and summed.
        projected: Channels of that sum.
        channels: Of the three levels above it, of 2 x 2, 4 x 4 and 8 x 8 cells a token.
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
        heads: Attention heads by which features attend to directions.
    """

    vit: VitConfig
    width: int = 512
    heads: int = 8


@dataclass(frozen=True)
class DepthProConfig:
    """An architecture of Depth Pro.

    Attributes:
        vit: Of each of the three transformers. The patch encoder hands on a shallow block, a deeper one and the last.
        channels: Of the four coarser maps that the decoder takes, from the finest.
        features: Channels of the decoder, and of its finest map.
    """

    vit: VitConfig
    channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)
    features: int = 256

    @property
    def window(self) -> int:
        """Pixels along the side of the square that a transformer takes."""
        return self.vit.grid * self.vit.patch

    @property
    def side(self) -> int:
        """Pixels along the side of the network's square input."""
        return 4 * self.window


@dataclass(frozen=True)
class ZipDepthConfig:
    """An architecture of ZipDepth.

    Attributes:
        channels: Of the encoder's stages at 1/4, 1/8, 1/16 and 1/32 of the input; at 1/2 it has half of the first.
        blocks: Re-parameterised blocks of each stage, without the one that halves the size before it.
        decoder: Channels of the decoder at 1/4; 3, 2 and 1.5 times as many at the coarser sizes.
        half: Its channels at 1/2.
        convex: Whether each pixel is a mean of nine coarser ones, by weights of its own; else of the nearest and of their interpolation.
    """

    channels: tuple[int, int, int, int] = (48, 96, 192, 384)
    blocks: tuple[int, int, int, int] = (2, 2, 6, 2)
    decoder: int = 96
    half: int = 32
    convex: bool = True
