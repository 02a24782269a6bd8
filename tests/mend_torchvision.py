"""Imported, lets a torchvision be imported whose compiled part does not fit the installed torch; what needs that part still fails.

controlnet-aux and timm, with which the tests compare, import torchvision without using that part.
"""

import torch

try:
    import torchvision
except (ImportError, AttributeError, RuntimeError) as error:
    # Declared after the real import has failed for want of them, never before: what a whole torchvision then registers a second time
    # ends the process.
    if "operator torchvision::nms does not exist" in str(error):
        operators = torch.library.Library("torchvision", "FRAGMENT")
        operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.stand_in = operators  # they are declared as long as this object lives
