"""Copied into the environment of the tests' ComfyUI, and imported whenever its Python starts: lends torchvision what it lacks.

torchvision's compiled part needs CUDA's torch. With the CPU's, two operators must be declared before torchvision is imported; torch itself
is not imported before somebody asks for torchvision.
"""

import sys
from importlib.abc import MetaPathFinder


class _Lender(MetaPathFinder):
    def find_spec(self, fullname, path=None, target=None):
        """Finds nothing; declares the operators on the way, once."""
        if fullname != "torchvision":
            return
        sys.meta_path.remove(self)
        import torch

        if torch.version.cuda is None:
            operators = torch.library.Library("torchvision", "FRAGMENT")
            operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            _lent.append(operators)  # they are declared as long as this object lives


_lent: list = []
sys.meta_path.insert(0, _Lender())
