"""Architecture sizes, separate from the networks' code, so that the table of models is read without torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class VitConfig:
    """An architecture of the vision transformer."""

    width: int  # channels of a token
    depth: int  # number of blocks
    heads: int  # attention heads per block
    taken: tuple[int, ...]  # indices, from 0, of the blocks whose outputs are returned
    swiglu: bool = False  # whether the MLPs are gated (the giant network)
    # index of the first block with version 3's additions; None = none. Queries and keys are normalised and rotated by position,
    # blocks of odd index ("global") place all patches at one position, and token 0 is the camera's.
    alternating_from: int | None = None
    norm_eps: float = 1e-6  # of the last normalisation
    grid: int = 37  # side of the checkpoint's position grid
    registers: int = 0  # tokens between the class token and the patches, without positions
    block_eps: float = 1e-6  # of the blocks' normalisations
    position_offset: float = 0.1  # as in `layers.resized_positions`: DINOv2's, with which most networks were trained
    patch: int = 14  # side of a token's patch in pixels

    @property
    def channels(self) -> int:
        """Channels of the returned features."""
        return self.width if self.alternating_from is None else 2 * self.width


@dataclass(frozen=True)
class DptConfig:
    """An architecture of the DPT head."""

    channels: tuple[int, int, int, int]  # of the four maps, finest to coarsest
    features: int  # channels of the fusion path
    outputs: int = 1
    positions: bool = False  # whether tokens are normalised and positions added to the maps
    sky: bool = False  # whether a second output predicts the sky


@dataclass(frozen=True)
class TinyConfig:
    """Sizes of tiny's network."""

    channels: tuple[int, int, int, int, int] = (16, 32, 64, 128, 192)  # of the encoder at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input
    decoder: int = 56  # channels of the decoder from 1/32 to 1/4
    head: int = 16  # channels at 1/2, before the output
    attention_blocks: int = 2  # transformer blocks at 1/32
    attention_heads: int = 6  # heads of each
    expansion: int = 3  # hidden width of their MLPs as a multiple of the input's
    fine: int = 0  # channels at full size of the second version, which also predicts the sky. 0 = the first version.


TINY = TinyConfig()
TINY_2 = TinyConfig(attention_blocks=4, fine=8)


@dataclass(frozen=True)
class RefinerConfig:
    """An architecture of MoGe-3's refiner."""

    # from the finest level (a voxel per pixel of the points) to the coarsest (a cell per token); each level halves the size
    channels: tuple[int, ...] = (32, 64, 128, 256, 512)
    bins: int = 256  # voxels per unit of the logarithm of z


@dataclass(frozen=True)
class MogeConfig:
    """An architecture of versions 2 and 3."""

    vit: VitConfig  # the transformer; the maps of its taken blocks are projected and summed
    channels: tuple[int, int, int, int, int]  # of the convolutions' five levels, from one cell per token to 16 x 16
    neck_blocks: tuple[int, int, int, int, int] = (0, 1, 1, 1, 0)  # residual blocks of the neck at each level
    head_blocks: tuple[int, int, int, int, int] = (0, 1, 1, 1, 0)  # the same for each head
    normals: bool = True  # whether it has a head for normals
    refiner: RefinerConfig | None = None  # of version 3; None = version 2


@dataclass(frozen=True)
class DsineConfig:
    """An architecture of DSINE's decoder."""

    features: int = 2048  # channels of its coarsest map; the finer ones have half and a quarter
    state: int = 64  # channels of the recurrent state


@dataclass(frozen=True)
class Metric3dConfig:
    """An architecture of version 2."""

    vit: VitConfig  # the transformer. Four taken blocks give one level each; a single one gives all four levels and is normalised.
    levels: tuple[int, int, int, int]  # channels of the four levels, from the finest (1/4 of the input) to the coarsest (1/14)
    path: tuple[int, int, int, int]  # channels of the fusion path at the same levels
    hidden: int  # channels of the recurrent units
    iterations: int  # number of their corrections


@dataclass(frozen=True)
class ResnextConfig:
    """An architecture of ResNeXt."""

    blocks: tuple[int, int, int, int] = (3, 4, 23, 3)  # residual blocks of each stage
    groups: int = 32  # of the middle convolutions
    group_width: int = 8  # channels per group in the first stage; doubled in each further stage
    stem: int = 64  # channels of the first convolution
    channels: tuple[int, int, int, int] = (256, 512, 1024, 2048)  # of the stages' outputs


@dataclass(frozen=True)
class LeresConfig:
    """An architecture of LeReS."""

    encoder: ResnextConfig = ResnextConfig()
    features: tuple[int, int, int, int] = (256, 256, 256, 512)  # channels of the decoder at 1/4, 1/8, 1/16 and 1/32 of the image


@dataclass(frozen=True)
class MergeConfig:
    """An architecture of the network that merges two depth maps."""

    levels: int = 10  # number of times it halves its input
    width: int = 64  # channels of the first level; doubled in each of the next three, then constant


@dataclass(frozen=True)
class BoostConfig:
    """LeReS and the network that merges its outputs for an image at several sizes."""

    leres: LeresConfig = LeresConfig()
    merge: MergeConfig = MergeConfig()
    field: int = 448  # side of the depth network's receptive field
    merge_side: int = 1024  # side of the merging network's maps
    greatest_side: int = 1600  # side of the depth network's largest input


@dataclass(frozen=True)
class Moge1Config:
    """An architecture of version 1."""

    vit: VitConfig  # the transformer; the maps of its taken blocks are projected and summed
    projected: int = 512  # channels of that sum
    channels: tuple[int, int, int] = (256, 128, 64)  # of the three levels above it, with 2 x 2, 4 x 4 and 8 x 8 cells per token


@dataclass(frozen=True)
class Da2Config:
    """An architecture of DA²."""

    vit: VitConfig
    width: int = 512  # channels of the head
    heads: int = 8  # heads of the features' attention to directions


@dataclass(frozen=True)
class DepthProConfig:
    """An architecture of Depth Pro."""

    vit: VitConfig  # of each of the three transformers. The patch encoder returns a shallow block, a deeper one and the last.
    channels: tuple[int, int, int, int] = (256, 512, 1024, 1024)  # of the decoder's four coarser input maps, finest first
    features: int = 256  # channels of the decoder and its finest map

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
    """An architecture of ZipDepth."""

    channels: tuple[int, int, int, int] = (48, 96, 192, 384)  # of the encoder from 1/4 to 1/32 of the input; at 1/2 half of the first
    blocks: tuple[int, int, int, int] = (2, 2, 6, 2)  # re-parameterised blocks per stage, not counting the downsampling one
    decoder: int = 96  # channels of the decoder at 1/4; 1.5, 2 and 3 times as many at the coarser sizes
    half: int = 32  # its channels at 1/2
    convex: bool = True  # whether pixels are convex combinations of nine coarser ones; else blends of nearest and bilinear interpolation
