"""Lets a torchvision be imported whose compiled part does not fit the installed torch; what needs that part still fails.

Run before the import (by `runpy`, or as a plugin), as controlnet-aux, timm and others import torchvision without need.
"""

import torch

try:
    import torchvision
except ImportError:
    pass
except RuntimeError as error:
    # Declared after the real import has failed for want of them, never before: what a whole torchvision then registers a second time
    # ends the process.
    if "operator torchvision::nms does not exist" in str(error):
        operators = torch.library.Library("torchvision", "FRAGMENT")
        operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        import torchvision

        torchvision.stand_in = operators  # they are declared as long as this object lives
