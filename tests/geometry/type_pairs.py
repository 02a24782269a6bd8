"""Types that two maps of one call may have, each beside another."""

import pytest
import torch

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
PAIRS = [*zip(TYPES, (*TYPES[1:], TYPES[0]), strict=True), (torch.float32, torch.float16), (torch.float16, torch.float32)]
of_two_types = pytest.mark.parametrize(("image_type", "depth_type"), PAIRS, ids=str)
