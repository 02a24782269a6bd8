"""A pretend comfyui_controlnet_aux for a server's `custom_nodes`: nodes of ids that this pack has too, with the old widgets alone."""


class Other:
    """Gives a black image, as none of this pack's nodes would."""

    CATEGORY, FUNCTION, RETURN_TYPES = "ControlNet Preprocessors/Normal and Depth Estimators", "execute", ("IMAGE",)

    @classmethod
    def INPUT_TYPES(cls):  # noqa: N802
        return {"required": {"image": ("IMAGE",)}, "optional": {"resolution": ("INT", {"default": 512})}}

    def execute(self, image, resolution=512):
        return (image * 0,)


NODE_CLASS_MAPPINGS = dict.fromkeys(("MiDaS-NormalMapPreprocessor", "MiDaS-DepthMapPreprocessor", "BAE-NormalMapPreprocessor"), Other)
NODE_DISPLAY_NAME_MAPPINGS = dict.fromkeys(NODE_CLASS_MAPPINGS, "Of another pack")
