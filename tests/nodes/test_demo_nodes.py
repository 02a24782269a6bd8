"""Demo Image and Demo Video: the pack's files, and the user's own."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from depth_normal.media import read_frames, video_header
from depth_normal.media.demo import DEMO_IMAGES, DEMO_VIDEOS
from depth_normal.nodes.demo import DemoImage, DemoVideo


def choices(node, name: str) -> list[str]:
    return node.INPUT_TYPES()["required"][name][0]


def test_without_comfyui_the_pack_s_images_load():
    for name in choices(DemoImage, "image"):
        (image,) = DemoImage().execute(name)
        assert image.shape[0] == 1 and image.shape[-1] == 3 and image.min() >= 0 and 0.6 < image.max() <= 1 and image.std() > 0.03
    assert tuple(image.shape[1:3]) == cv2.imread(str(DEMO_IMAGES["panorama.jpg"])).shape[:2]
    assert image.shape[2] == 2 * image.shape[1]


def test_the_video_of_the_pack_is_two_seconds_and_moves():
    header = video_header(str(DEMO_VIDEOS["breakfast.mp4"]))
    frames = [frame.image() for frame in read_frames(str(DEMO_VIDEOS["breakfast.mp4"]))]
    assert len(frames) == 24 and header.rate == 12
    assert (frames[0] - frames[-1]).abs().mean() > 0.03 > (frames[0] - frames[1]).abs().mean()


def test_the_media_are_small():
    sizes = [path.stat().st_size for path in (*DEMO_IMAGES.values(), *DEMO_VIDEOS.values())]
    assert sum(sizes) < 700_000


def test_the_page_can_show_what_is_listed(comfyui):
    """Its own folders alone: the pack's files are copied to the one for temporary files."""
    for node, name in ((DemoImage, "image"), (DemoVideo, "file")):
        for choice in choices(node, name):
            shown = comfyui / "temp" / choice.removesuffix(" [temp]")
            assert shown.is_file() and node.VALIDATE_INPUTS(choice) is True
            shown.unlink()
            assert node.VALIDATE_INPUTS(choice) is True, "the nodes read the pack's own file"


def test_an_image_of_the_user_is_listed_and_loaded(comfyui):
    cv2.imwrite(str(comfyui / "input" / "mine.png"), np.full((4, 6, 3), (0, 0, 255), np.uint8))
    (comfyui / "input" / "notes.txt").write_text("no image")
    assert choices(DemoImage, "image")[len(DEMO_IMAGES) :] == ["mine.png"] and choices(DemoVideo, "file")[1:] == []
    (image,) = DemoImage().execute("mine.png")
    assert tuple(image.shape) == (1, 4, 6, 3) and image[0, 0, 0].tolist() == [1, 0, 0]
    before = DemoImage.IS_CHANGED("mine.png")
    cv2.imwrite(str(comfyui / "input" / "mine.png"), np.zeros((8, 6, 3), np.uint8))
    assert DemoImage.IS_CHANGED("mine.png") != before


@pytest.mark.parametrize("name", ["missing.png", "../secret.png", "depth_normal/missing.jpg [temp]"])
def test_a_name_that_leads_nowhere_is_refused_before_the_run(comfyui, name):
    Path(comfyui / "secret.png").write_bytes(b"")
    assert isinstance(DemoImage.VALIDATE_INPUTS(name), str)
