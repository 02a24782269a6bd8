"""Float32 against the authors' code in float64, from which their own float32 is about as far.

How far depends on the weights and the image: two codes in float32 are no yardstick for each other.
"""

import torch


def assert_as_exact(ours, network, run):
    """Prints how far our map and the authors' are from theirs in float64; asserts that ours is at most about twice as far.

    Args:
        ours: Our map.
        network: The authors' network, in float32.
        run: From their network and its dtype to their map.
    """
    authors, exact = run(network, torch.float32), run(network.double(), torch.float64)
    network.float()  # not a copy above, whose hooks would write to the original
    assert (ours.dtype, exact.dtype, ours.shape) == (torch.float32, torch.float64, exact.shape)
    largest = exact.abs().max()
    here, theirs = (float((each - exact).abs().max() / largest) for each in (ours, authors))
    print(f"of the largest value from float64: {here:.1e} here, {theirs:.1e} the authors'")
    assert here < 2 * theirs + 1e-6 < 2e-3
    assert here < 1e-2 * float(exact.std() / largest), "right on average, wrong in its structure"
