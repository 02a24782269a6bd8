"""A kernel is used where it gives what the eager way gives, and never shows otherwise. The kernels are functions here, on the CPU."""

import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from depth_normal.geometry.filters import kernels

VALUES = torch.linspace(1, 2, 1000)


@pytest.fixture
def doubled(monkeypatch, request):
    """A function with a kernel that computes `request.param` of its arguments, here on a "card"; and what each way was called with."""
    monkeypatch.setattr(kernels, "runs_kernels", lambda _: True)
    monkeypatch.setattr(kernels, "_RUNS_BEFORE", 0)
    called = {"eager": [], "kernel": []}

    def _double(values, factor):
        called["eager"].append(factor)
        return values * factor

    def double(values, factor):
        called["kernel"].append(factor)
        return request.param(values, factor)

    monkeypatch.setitem(globals(), "double", double)
    return kernels.by_kernel(__name__)(_double), called


def rounded(values, factor):
    return values * factor * (1 + 1e-6)


def with_a_tie(values, factor):
    return torch.cat((values[:1] + 9, values[1:] * factor))


def missing(values, factor):
    raise ImportError("No module named 'triton'\nand more")


@pytest.mark.parametrize("doubled", [rounded, with_a_tie], indirect=True)
def test_a_kernel_that_gives_the_same_is_used_for_each_set_of_constants(doubled, caplog):
    function, called = doubled
    for factor in (2, 2, 3, 2, 3):
        torch.testing.assert_close(function(VALUES, factor)[1:], VALUES[1:] * factor, rtol=1e-5, atol=0)
    assert called == {"eager": [2, 3], "kernel": [2, 2, 3, 2, 3]} and not caplog.records


@pytest.mark.parametrize(
    ("doubled", "reason", "level"),
    [
        (lambda values, factor: values * (factor + 1e-4), "ArithmeticError: 1000 of 1000 values differ", logging.WARNING),
        (lambda values, factor: torch.full_like(values, torch.nan), "ArithmeticError: 1000 of 1000 values differ", logging.WARNING),
        (lambda values, factor: values[1:], "RuntimeError: The size of tensor a (999)", logging.INFO),
        (missing, "ImportError: No module named 'triton')", logging.INFO),
    ],
    indirect=["doubled"],
)
def test_a_kernel_that_raises_or_differs_is_given_up_with_one_line(doubled, reason, level, caplog):
    caplog.set_level(logging.INFO)
    function, called = doubled
    assert all(torch.equal(function(VALUES, 2), VALUES * 2) for _ in range(3))
    assert called == {"eager": [2, 2, 2], "kernel": [2]}
    assert [record.levelno for record in caplog.records] == [level] and "double: without its Triton kernel on cpu" in caplog.text
    assert reason in caplog.text and "\n" not in caplog.records[0].getMessage()


@pytest.mark.parametrize(
    "doubled", [lambda values, factor: values * factor if len(values) < 1000 else missing(values, factor)], indirect=True
)
def test_a_proven_kernel_that_raises_later_is_given_up(doubled):
    function, called = doubled
    for length in (100, 1000, 100):
        assert torch.equal(function(VALUES[:length], 2), VALUES[:length] * 2)
    assert called == {"eager": [2, 2, 2], "kernel": [2, 2]}


@pytest.mark.parametrize("doubled", [rounded], indirect=True)
def test_single_images_do_not_wait_for_a_compiler(doubled, monkeypatch):
    function, called = doubled
    monkeypatch.setattr(kernels, "_RUNS_BEFORE", 3)
    for _ in range(5):
        function(VALUES, 2)
    assert called == {"eager": [2, 2, 2, 2], "kernel": [2, 2]}, "the fourth is computed both ways"


@pytest.mark.parametrize("doubled", [rounded], indirect=True)
def test_results_of_zeros_prove_nothing(doubled):
    function, called = doubled
    function(VALUES * 0, 2), function(VALUES[:50], 2), function(VALUES, 2), function(VALUES, 2)
    assert len(called["eager"]) == 3


@pytest.mark.parametrize("doubled", [rounded, missing], indirect=True)
def test_threads_wait_for_one_proof(doubled):
    function, called = doubled
    with ThreadPoolExecutor(8) as pool:
        for made in pool.map(lambda _: function(VALUES, 2), range(64)):
            torch.testing.assert_close(made, VALUES * 2, rtol=1e-5, atol=0)
    works = len(called["kernel"]) > 1
    assert called["eager"] == [2] * (1 if works else 64) and len(called["kernel"]) == (64 if works else 1)


def test_kernels_run_only_on_plain_tensors_of_a_card():
    assert not kernels.runs_kernels([VALUES]) and not kernels.runs_kernels([VALUES.to("meta")])


I64 = dict.fromkeys(("place", "places", "around"), "*i64")
POINTERS = {"edge": "*u8", "slots": "*i32", "is_known": "*i1", "known": "*i1", **I64}
NUMBERS = (*("images", "height", "width", "total", "pixels", "count", "growth"), *("before", "beyond", "widest", "reach", "around", "far"))
SOFT_EDGES = "views.soft_edges_kernel"
HOLES = {"sides": 4, "blurred": False, "block": 64}
# by the module and the name: constants, and kinds that other kernels have otherwise
KERNELS = {
    ("edges.stripes_kernel", "_votes"): ({"size": 32, "block": 64}, {"around": "i32"}),
    **{(SOFT_EDGES, name): ({"pixels": 128}, {}) for name in ("_beside", "_completed", "_expected", "_separated")},
    ("views.disocclusion_kernel", "_background_beside"): (HOLES, {"made": "*i64"}),
}
COMPILED = f"""
import importlib, triton
from triton.backends.compiler import GPUTarget
for (module, name), (constants, own) in {KERNELS!r}.items():
    kernel = getattr(importlib.import_module("depth_normal.geometry." + module), name)
    kinds = {dict.fromkeys(NUMBERS, "i32") | POINTERS!r} | dict.fromkeys(constants, "constexpr") | own
    signature = {{each: kinds.get(each, "*fp32") for each in kernel.arg_names}}
    source = triton.compiler.ASTSource(kernel, signature, {{each: constants[each] for each in signature if each in constants}})
    options = {{"num_warps": 1 if module == "edges.stripes_kernel" else 4, "enable_fp_fusion": False}}
    for generation in ({kernels._OLDEST[0] * 10 + kernels._OLDEST[1]}, 120):
        print(len(triton.compile(source, target=GPUTarget("cuda", generation, 32), options=options).asm["cubin"]))
"""


@pytest.mark.slow("compiles kernels")
def test_the_kernels_compile_for_old_and_new_cards(tmp_path):
    pytest.importorskip("triton")
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", COMPILED], env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    sizes = [int(word) for word in ended.stdout.split()]
    assert len(sizes) == 2 * len(KERNELS) and min(sizes) > 1000
