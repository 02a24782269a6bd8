"""The options of `--engine ray`. Nothing large is imported."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from ...options.outputs import ENGINE_CHOICES
from ..console.option_types import number_type, positive

RAY_OPTIONS = ("--address", "--workers", "--gpus-per-worker", "--batch-size")
"""The options of `--engine ray` alone."""


@dataclass(frozen=True)
class RayOptions:
    """The distribution of a run over a cluster.

    Attributes:
        address: Of a running cluster; None = that of RAY_ADDRESS, or a Ray on this machine that ends with the run.
        workers: Most workers at a time, each with a model of its own; None = as many as the cluster has room for when the run begins.
        gpus_per_worker: GPUs of each; 0.25 = four share one; None = one where the cluster has any and `device` does not say "cpu".
        batch_size: Images that run through the network together; None = 8 on a GPU, else 1.
        device: As `load_model` takes it.
    """

    address: str | None = None
    workers: int | None = None
    gpus_per_worker: float | None = None
    batch_size: int | None = None
    device: str = "auto"


def add_ray(parser: argparse.ArgumentParser) -> None:
    """Adds --engine and what goes with it."""
    parser.add_argument(
        "--engine", choices=ENGINE_CHOICES, default=ENGINE_CHOICES[0], help="ray: on all cores and GPUs of a cluster (docs/scale.md)"
    )
    ray = parser.add_argument_group("with --engine ray", "IMAGE may be s3://... too")
    address = "a running cluster: auto, HOST:PORT or ray://HOST:PORT (default: RAY_ADDRESS, or a Ray on this machine for this run)"
    ray.add_argument("--address", help=address)
    ray.add_argument("--workers", type=positive, metavar="N", help="most workers, each with its own model (default: what the cluster has)")
    share = number_type(
        "a number of GPUs: a part of one, such as 0.5, or a whole number", lambda gpus: 0 <= gpus <= 1 or gpus % 1 == 0 < gpus
    )
    gpus = "GPUs of a worker; 0.25 = four share one (default: 1 where the cluster has any)"
    ray.add_argument("--gpus-per-worker", type=share, metavar="F", help=gpus)
    ray.add_argument("--batch-size", type=positive, metavar="N", help="images that run together (default: 8 on a GPU, else 1)")


def ray_options(arguments: argparse.Namespace) -> RayOptions:
    """The options that were given on the command line."""
    return RayOptions(
        address=arguments.address,
        workers=arguments.workers,
        gpus_per_worker=arguments.gpus_per_worker,
        batch_size=arguments.batch_size,
        device=arguments.device,
    )
