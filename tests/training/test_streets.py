"""The geometry of two photos of a street, from points whose depth is known."""

import cv2
import numpy as np
import pytest

from depth_normal.training import data, streets, teacher

WIDTH, HEIGHT, FOCAL = 854, 640, 0.825


@pytest.fixture
def street():
    """Pixels of points in two photos, the second 1 m ahead and turned, and their depth in both; a tenth of the matches is wrong."""
    random = np.random.default_rng(0)
    points = random.uniform((-6, -3, 4), (6, 2, 20), (600, 3))
    turn = cv2.Rodrigues(np.array([0.02, 0.15, 0.0]))[0]
    moved = points @ turn.T + (0.1, 0.05, -1)

    def pixels(seen):
        return seen[:, :2] / seen[:, 2:] * FOCAL * WIDTH + (WIDTH / 2, HEIGHT / 2)

    first, second = pixels(points), pixels(moved)
    inside = ((first > 0) & (first < (WIDTH, HEIGHT)) & (second > 0) & (second < (WIDTH, HEIGHT))).all(1) & (moved[:, 2] > 1)
    first, second, depth, ahead = first[inside], second[inside], points[inside, 2], moved[inside, 2]
    wrong = np.arange(len(first)) % 10 == 0
    second[wrong] += random.uniform(15, 60, (wrong.sum(), 2))
    return first + random.normal(0, 0.1, first.shape), second, depth, ahead, wrong


def test_depth_follows_from_two_photos(street):
    first, second, depth, ahead, wrong = street
    kept, found, found_ahead = streets.two_view_depth(first, second, WIDTH, HEIGHT)
    assert len(kept) > 0.3 * len(first)
    assert wrong[kept].mean() < 0.02  # a match that is wrong along its epipolar line cannot be told
    unit = np.median(found / depth[kept])
    for each, truth in ((found, depth[kept]), (found_ahead, ahead[kept])):
        assert np.median(np.abs(each / unit / truth - 1)) < 0.02


def test_true_disparity_has_no_error(street):
    first, _, depth, *_ = street
    disparity = np.zeros((HEIGHT, WIDTH))
    kept = streets.one_in_a_cell(first)
    columns, rows = first[kept].round().astype(int).T
    disparity[rows.clip(0, HEIGHT - 1), columns.clip(0, WIDTH - 1)] = 3 / depth[kept] + 1
    assert streets.scores(disparity, first[kept], depth[kept]).startswith("1.000 / 0.000")


class Opinions:
    """A teacher of whose predictions one can tell whether FastDepth took part."""

    def __call__(self, image, outdoors=False):
        return np.linspace(-1, 1, image.shape[0], dtype=np.float32)[:, None].repeat(image.shape[1], 1) + outdoors


@pytest.mark.parametrize(
    ("split", "sky", "seen", "outdoors"),
    [("train", True, None, 1), ("train", False, None, 0), ("train", True, "no", 0), ("test", True, None, 0)],
)
def test_training_photos_with_sky_are_labelled_without_fastdepth(tmp_path, monkeypatch, split, sky, seen, outdoors):
    monkeypatch.setattr(teacher, "found_sky", lambda image, disparity: np.full(disparity.shape, sky))
    monkeypatch.setattr(teacher, "looked_at", lambda: {"photo": seen})
    photo = data.Photo("photo", split, "npm", "package", "1", "MIT", "photo.jpg")
    teacher.save_label(tmp_path / "label.npz", np.zeros((24, 32, 3), np.uint8), Opinions(), photo)
    assert np.median(data.read_npz(tmp_path / "label.npz")["disparity"]) == outdoors
