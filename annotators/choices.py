"""Words that users choose among, without torch: the command line knows them before anything large is imported."""

DEFAULT_MODEL = "midas-dpt-hybrid"
"""The old nodes' model, and what is taken where nobody chooses."""

BUNDLED_MODEL = "tiny"
"""The model whose weights are a part of the pack."""

DTYPE_CHOICES = ("auto", "float32", "float16", "bfloat16")
DEVICE_CHOICES = ("auto", "cpu", "cuda", "mps")
