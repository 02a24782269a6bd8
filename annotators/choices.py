"""Words that users choose among, without torch: the command line knows them before anything large is imported."""

DEFAULT_MODEL = "midas-dpt-hybrid"
"""The old MiDaS nodes' model."""

RECOMMENDED_MODEL = "moge-2-vits-normal"
"""What the commands and *Load Depth/Normal Model* take where nobody chooses: metres, normals and camera in one pass, 141 MB, MIT."""

RECOMMENDED_FILM_MODEL = "video-depth-anything-small"
"""What is taken for films where nobody chooses: the one free model that sees 32 frames at once. Others are calmed afterwards."""

BUNDLED_MODEL = "tiny"
"""The model whose weights are a part of the pack."""

DTYPE_CHOICES = ("auto", "float32", "float16", "bfloat16")
DEVICE_CHOICES = ("auto", "cpu", "cuda", "mps")
