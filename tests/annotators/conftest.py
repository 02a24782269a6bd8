"""The numbers that the authors' code gave for the tests' weights and inputs, or its formulas, written out apart from the product.

They are recorded where no package has the authors' code; docs/parity.md lists what else was compared.
"""

import json
from pathlib import Path

import pytest
import torch

NUMBERS = Path(__file__).with_name("authors_numbers.json")


def sampled(value: torch.Tensor) -> list[float]:
    """Of each channel of a map its mean, its deviation, and 4 x 4 pixels from corner to corner; other values as they are."""
    if value.ndim < 3:
        return value.flatten().tolist()
    rows, columns = (torch.linspace(0, side - 1, 4).long() for side in value.shape[-2:])
    parts = value.mean((-2, -1)), value.std((-2, -1)), value[..., rows[:, None], columns]
    return torch.cat([each.flatten() for each in parts]).tolist()


@pytest.fixture(scope="session")
def is_the_authors():
    """Asserts that outputs, given by name, are the recorded ones of a case, but for a tolerance in largest values.

    Prints how far they are apart.
    """
    recorded = json.loads(NUMBERS.read_text())

    def compare(case, tolerance=1e-4, **outputs):
        for name, value in outputs.items():
            found, expected = sampled(value.double()), recorded.get(case, {}).get(name, [])
            assert len(found) == len(expected), f"{NUMBERS.name} has no such {name} of {case!r}: {found}"
            largest = max(map(abs, expected))
            apart = max(abs(one - other) for one, other in zip(found, expected, strict=True))
            print(f"{case}, {name}: {apart / largest:.1e} of the largest value apart")
            assert found == pytest.approx(expected, rel=0, abs=tolerance * largest), name

    return compare
