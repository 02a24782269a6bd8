"""What torch is asked for while a test looks on."""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Calls(TorchDispatchMode):
    """Notes the names of the operations."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))

    def of(self, *words):
        """How many operations had one of the words in their names."""
        return sum(any(word in name for word in words) for name in self.names)


class Largest(TorchDispatchMode):
    """Notes how many bytes the largest result of an operation has."""

    bytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        self.bytes = max([self.bytes, *(each.nbytes for each in tree_leaves(result) if isinstance(each, torch.Tensor))])
        return result
