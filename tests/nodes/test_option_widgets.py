from depth_normal.nodes.checks import with_kinds
from depth_normal.nodes.option_widgets import option_widgets, takes
from depth_normal.options.fog import FogOptions


class Asked:
    """A node whose inputs list models of the disk: they are asked for when it runs."""

    asked = 0

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        Asked.asked += 1
        model = ["tiny", "on the disk"], {"default": "on the disk"}
        return {"required": {"image": ("IMAGE", {})}, "optional": {"model": model, **option_widgets(FogOptions)}}

    def execute(self, fog, image, model="tiny"):
        return fog, image, model


def test_inputs_are_asked_for_at_the_first_call_not_at_import():
    node = takes(FogOptions)(Asked)
    node.execute = with_kinds(node)
    assert not Asked.asked
    fog, image, model = node().execute("an image", "tiny", "#ffffff")
    assert (fog, image, model) == (FogOptions(colour="#ffffff"), "an image", "tiny")
    assert node().execute("an image")[2] == "tiny", "the default of a call is the node's own, not what the disk holds"
    assert Asked.asked == 1
