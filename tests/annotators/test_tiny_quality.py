"""What the shipped network is worth, on images with a truth; training/evaluate.py prints the whole table."""

import pytest

pytest.importorskip(
    "depth_normal.training.evaluate", reason="training/ is not installed with the package: install it editable (pip install -e .)"
)

from depth_normal.training import evaluate, export


@pytest.fixture(scope="module")
def run():
    """Runs the network once for each image."""
    tiny, found = evaluate.load_tiny(export.SHIPPED), {}

    def once(image):
        if id(image) not in found:
            found[id(image)] = image, evaluate.run_tiny(tiny, image)  # while the image is held, no other has its id
        return found[id(image)][1]

    return once


@pytest.fixture(scope="module")
def scenes(true_scenes):
    return evaluate.scenes_with_truth(true_scenes)


def first(figures: dict[str, str], name: str = "tiny") -> float:
    return float(figures[name].split()[0])


def test_a_photograph_with_measured_disparity(run):
    pytest.importorskip("skimage.data", reason="scikit-image carries the photograph")
    figures = evaluate.motorcycle({"tiny": lambda image: run(image)[0], "ramp": evaluate.ramp})
    assert first(figures) >= 0.87
    assert first(figures, "ramp") < 0.83


@pytest.mark.slow("runs the network over all scenes")
def test_near_and_far_in_rendered_scenes(run, scenes):
    figures = evaluate.ranks({"tiny": lambda image: run(image)[0], "ramp": evaluate.ramp}, scenes)
    assert first(figures) >= 0.93
    assert first(figures, "ramp") < 0.8


@pytest.mark.slow("takes most of a second")
def test_normals_of_rendered_scenes(run, scenes):
    figures = evaluate.normal_errors({"tiny": lambda image: run(image)[1]}, scenes)
    assert first(figures) <= 23


@pytest.mark.slow("takes most of a second")
def test_normals_of_the_disparity_have_no_lines_along_the_border(run, scenes):
    figures = evaluate.border_errors({"tiny": lambda image: run(image)[0]}, scenes)
    border, inside = map(float, figures["tiny"].split(" / "))
    assert border <= 24 < inside
