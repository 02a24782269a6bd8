"""Labels photographs with disparity: an ensemble of MiDaS at three sizes and FastDepth.

    python -m training.teacher --data DIR --weights DIR [--crops 2] [--mixed 1] [--part 0/1]

Reads the list photos.tsv beside this file and DIR/photos/, writes one .npz a crop to DIR/labels/. Existing files are not made again. With
--mixed it also labels photographs into which the foreground of another one is pasted.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from depth_normal.annotators.networks.midas import MidasSmall
from depth_normal.annotators.specs.base import IMAGENET_MEAN, IMAGENET_STD

from .data import CROP_LONG, CROP_SHORT, TEACHER_LONG, TEACHER_SHORT, Photo, random_crop, read_npz, read_photos, save_npz, seeded
from .parts import data_parser, part
from .skies import found_sky, looked_at

MIDAS_FILE = "midas_v21_small_256_partial.safetensors"
FASTDEPTH_FILE = "fastdepth_7.onnx"
MIXED_FROM = 1000  # index of the first mixed crop; mixed crops differ from the plainly labelled ones
SIZES = ((TEACHER_SHORT, TEACHER_LONG), (192, 256), (128, 192))

logger = logging.getLogger(__name__)


def load_midas(path: Path) -> MidasSmall:
    """MiDaS v2.1 small from its checkpoint; convolutions missing in the partial file are zero.

    Raises:
        ValueError: It lacks others.
    """
    from safetensors.torch import load_file

    network = MidasSmall()
    state = load_file(path)
    missing = network.state_dict().keys() - state.keys()
    allowed = {key for key in missing if key.startswith(("scratch.layer4_rn", "scratch.refinenet4.resConfUnit"))}
    if missing != allowed:
        raise ValueError(f"{path} lacks {sorted(missing - allowed)}: not the MiDaS v2.1 small checkpoint")
    expected = network.state_dict()
    network.load_state_dict(state | {key: torch.zeros_like(expected[key]) for key in missing})
    return network.eval().requires_grad_(False).to(memory_format=torch.channels_last)


def normalise(disparity: Tensor) -> Tensor:
    """Median 0 and mean absolute deviation 1 over the last two dimensions."""
    flat = disparity.flatten(-2)
    centred = disparity - flat.median(-1).values[..., None, None]
    return centred / centred.abs().mean((-2, -1), keepdim=True).clamp(min=1e-6)


def midas_pixels(image: np.ndarray, size: tuple[int, int]) -> Tensor:
    """(1, 3, h, w): MiDaS's input from an image (H, W, 3) uint8 RGB."""
    resized = cv2.resize(image, size[::-1], interpolation=cv2.INTER_CUBIC)
    mean, std = np.float32(IMAGENET_MEAN), np.float32(IMAGENET_STD)
    pixels = torch.from_numpy((resized.astype(np.float32) / 255 - mean) / std).permute(2, 0, 1)[None]
    return pixels.contiguous(memory_format=torch.channels_last)


class Teacher:
    """The ensemble.

    MiDaS without its widest context is better on smaller images and sharper on larger ones. FastDepth is good indoors, and is ignored where
    the two disagree; outdoors they agree that the bottom is near, but FastDepth compresses distant depth. Half of the result is filtered
    with the sharp one as guide.
    """

    def __init__(self, weights: Path) -> None:
        self.midas = load_midas(weights / MIDAS_FILE)
        self.fastdepth = cv2.dnn.readNet(str(weights / FASTDEPTH_FILE))

    @torch.inference_mode()
    def __call__(self, image: np.ndarray, outdoors: bool = False) -> np.ndarray:
        """Disparity of an image.

        Args:
            image: (H, W, 3) uint8 RGB.
            outdoors: Whether to leave FastDepth out.

        Returns:
            (H, W) float32, large = near, median 0, mean absolute deviation 1.
        """
        height, width = image.shape[:2]
        sizes = SIZES if width >= height else [(long, short) for short, long in SIZES]
        high, middle, low = (normalise(resize(self.midas_disparity(image, size), height, width)) for size in sizes)
        base = normalise(high + middle + 2 * low)
        fast = normalise(resize(self.fastdepth_disparity(image), height, width))
        agreement = float(torch.corrcoef(torch.stack((base.flatten(), fast.flatten())))[0, 1])
        share = 0 if outdoors else 3 * np.clip((agreement - 0.2) / 0.4, 0, 1)
        mixed = normalise(high + middle + 2 * low + share * fast)
        smooth = guided_filter(mixed[0, 0].numpy(), normalise(high + middle)[0, 0].numpy(), round(height / 12), 0.05)
        return normalise(mixed[0, 0] + torch.from_numpy(smooth)).numpy()

    @torch.inference_mode()
    def midas_disparity(self, image: np.ndarray, size: tuple[int, int]) -> Tensor:
        """MiDaS's disparity (1, 1, h, w) float32 at (h, w), multiples of 32."""
        with torch.autocast("cpu", torch.bfloat16):
            return self.midas(midas_pixels(image, size)).float()

    def fastdepth_disparity(self, image: np.ndarray) -> Tensor:
        """(1, 1, 224, 224) float32: the inverse of FastDepth's metres."""
        resized = cv2.resize(image, (224, 224), interpolation=cv2.INTER_AREA)
        self.fastdepth.setInput(np.ascontiguousarray(resized.transpose(2, 0, 1)[None], np.float32) / 255)
        return 1 / torch.from_numpy(self.fastdepth.forward()).float().clamp(min=0.1)


def resize(values: Tensor, height: int, width: int) -> Tensor:
    """Bicubic, as by MiDaS's authors."""
    return F.interpolate(values, size=(height, width), mode="bicubic", align_corners=False)


def guided_filter(values: np.ndarray, guide: np.ndarray, radius: int, epsilon: float) -> np.ndarray:
    """Guided filter: makes values locally linear in the guide; both (H, W) float32.

    Source:
        He, Sun, Tang, "Guided Image Filtering" (2010).
    """

    def mean(x: np.ndarray) -> np.ndarray:
        return cv2.blur(x, (2 * radius + 1, 2 * radius + 1))

    mean_guide, mean_values = mean(guide), mean(values)
    slope = (mean(guide * values) - mean_guide * mean_values) / (mean(guide * guide) - mean_guide**2 + epsilon)
    return mean(slope) * guide + mean(mean_values - slope * mean_guide)


def label(photo: Photo, index: int, data: Path, teacher: Teacher) -> None:
    """Writes crop number `index` of a photograph with its disparity."""
    target = data / "labels" / f"{photo.id}_{index}.npz"
    if not target.exists():
        save_label(target, random_crop(photo.read(data), photo.id, index), teacher, photo)


def label_mixed(photo: Photo, index: int, data: Path, teacher: Teacher, photos: list[Photo]) -> None:
    """Writes a crop of a photograph with the foreground of another one's largest crop pasted in, and the disparity of both."""
    target = data / "labels" / f"{photo.id}_mixed{index}.npz"
    if target.exists():
        return
    random = seeded(photo.id, "mixed", index)
    others = [other for other in photos if other.id != photo.id]
    other = others[random.integers(len(others))]
    label(other, 0, data, teacher)
    near = read_npz(data / "labels" / f"{other.id}_0.npz")
    crop = random_crop(photo.read(data), photo.id, MIXED_FROM + index)
    save_label(target, set_before(crop, near["rgb"], near["disparity"].astype(np.float32), random), teacher, photo)


def set_before(image: np.ndarray, other: np.ndarray, disparity: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Pastes the nearest 15 to 50 % of another image (h, w, 3) into an image (H, W, 3), at random size, place and mirroring."""
    height, width = image.shape[:2]
    near = (disparity > np.quantile(disparity, random.uniform(0.5, 0.85))).astype(np.float32)
    scale = random.uniform(0.5, 1.2) * min(height, width) / min(disparity.shape)
    mirror = random.choice((-1, 1))
    # its centre is at most two thirds of the way to the border
    x, y = (0.5 + random.uniform(-1, 1, 2) / 3) * (width, height)
    middle_y, middle_x = (np.average(places, weights=near) for places in np.indices(near.shape)) if near.any() else (0, 0)
    move = np.array([[mirror * scale, 0, x - mirror * scale * middle_x], [0, scale, y - scale * middle_y]])
    share = cv2.warpAffine(cv2.GaussianBlur(near, (0, 0), 1), move, (width, height))[..., None]
    return (image + share * (cv2.warpAffine(other, move, (width, height)) - image.astype(np.float32))).round().astype(np.uint8)


def save_label(target: Path, image: np.ndarray, teacher: Teacher, photo: Photo) -> None:
    """Writes a photo's image with the teacher's disparity; kept-out photos keep the labels that all versions were compared with."""
    outdoors = photo.split == "train" and looked_at().get(photo.id) != "no"
    disparity = teacher(image, outdoors)
    if outdoors and not found_sky(image, disparity).any():
        disparity = teacher(image)
    save_npz(target, rgb=image, disparity=disparity.clip(-6, 8).astype(np.float16))


def main() -> None:
    """See the module."""
    parser = data_parser(__doc__)
    parser.add_argument("--weights", type=Path, required=True, help=f"folder with {MIDAS_FILE} and {FASTDEPTH_FILE}")
    parser.add_argument("--crops", type=int, default=4, help=f"crops a photograph, {CROP_SHORT}x{CROP_LONG}; the first is the largest")
    parser.add_argument("--mixed", type=int, default=0, help="images a photograph with something near of another one before it")
    parser.add_argument("--part", type=part, default="0/1", help="i/n: only every n-th photograph, for several processes")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    (arguments.data / "labels").mkdir(parents=True, exist_ok=True)
    photos = arguments.part.of(read_photos(arguments.data))
    teacher = Teacher(arguments.weights)
    for index in range(arguments.crops):
        for photo in tqdm(photos, desc=f"crop {index}"):
            if index == 0 or photo.split == "train":
                label(photo, index, arguments.data, teacher)
    others = read_photos(arguments.data, "train")
    if arguments.mixed and len(others) < 2:
        parser.error(f"--mixed needs two photographs to learn from; {arguments.data} has {len(others)}: run training.data first")
    for index in range(arguments.mixed):
        for photo in tqdm([photo for photo in photos if photo.split == "train"], desc=f"mixed {index}"):
            label_mixed(photo, index, arguments.data, teacher, others)


if __name__ == "__main__":
    main()
