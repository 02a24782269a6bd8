"""Trains the network; stop it at any time and start it again with the same command, also with more data or other minutes.

    python -m training.train --data DIR --run DIR [--begin FILE [--only-sky [scene]]] [--plain] [--teach FILE@SIZE ...]
                             [--label-share 0.35] [--minutes 240 | --steps 200] [--processes 2]
    python -m training.train --data DIR --run DIR --device cuda --minutes 60

Learns from DIR/labels (training.teacher), DIR/skies (training.skies), DIR/ensemble (training.ensemble), DIR/features (training.features),
DIR/renders and DIR/films (training.scenes); with --teach from DIR/photos (training.data), not DIR/ensemble; with --only-sky from DIR/drawn
(training.drawn) too. Writes to the run's folder: checkpoint.pt (everything to go on), best.pt (weights with the best correlation on the
validation photographs; with --only-sky the last), log.jsonl (figures), train.pid. On a GPU one process does all, with more images a step;
everything that is learned from has to fit its memory.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Collection, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from depth_normal.annotators.networks.configs import TINY_2
from depth_normal.annotators.networks.tiny import TinyNetwork

from .batches import Crops, load_crops, sample_batch
from .data import CROP_SHORT, FEATURES
from .export import read_state
from .losses import (
    PLAIN_STEADY_WEIGHT,
    SKY,
    STEADY_WEIGHT,
    correlation,
    file_and_size,
    load_teachers,
    normalised_target,
    taught,
    training_loss,
)
from .parts import data_parser

SIZES_OF_USE = ((224, 288), (224, 288), (224, 320), (224, 224), (256, 352))
# (progress up to which, (short, long) sides to draw from): small images are fast, the last third trains at sizes of use
CURRICULUM = ((0.4, ((96, 128), (96, 160))), (0.65, ((128, 160), (160, 192), (128, 192))), (1.0, SIZES_OF_USE))
# for a network that is already trained
WARM_CURRICULUM = ((1.0, SIZES_OF_USE),)
VALIDATION_SIZE = (224, 288)
PEAK_RATE, WARM_PEAK_RATE, LAST_RATE, WARM_UP_STEPS = 5e-4, 3e-5, 5e-6, 200
SKY_RATE = 3e-3  # of the sky's layers only
WEIGHT_DECAY, CLIP, EMA_DECAY = 0.03, 1.0, 0.998
COUNTED_IMAGE = 224 * 288
IMAGES = {"cpu": 12, "cuda": 64}  # images of that size per step and process; fewer of larger ones
LONGEST_STEP = 60.0  # maximum seconds counted per step, so that a suspended process does not use up its time

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Options:
    """The command line; see the module."""

    data: Path
    run: Path
    minutes: float
    steps: int | None
    processes: int
    seed: int
    save_minutes: float
    peak_rate: float
    begin: Path | None = None
    device: str = "cpu"
    only_sky: str = ""
    plain: bool = False
    teach: tuple[tuple[Path, int], ...] = ()
    label_share: float = 0.0

    @property
    def teach_names(self) -> list[str]:
        """Names of the teachers, independent of their folders, and the labels' weight."""
        labels = [f"--label-share {self.label_share:g}"] if self.label_share else []
        return [*(f"{path.name}@{size}" for path, size in self.teach), *labels]


class Student(nn.Module):
    """The network and, for training only, a projection of its features to the teacher's."""

    def __init__(self, network: TinyNetwork, channels: tuple[int, ...]) -> None:
        super().__init__()
        self.network = network
        widths = zip(FEATURES.items(), channels[-2:], strict=True)
        self.tell = nn.ModuleDict({name: nn.Conv2d(width, count, 1) for (name, (_, count)), width in widths})

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """The network's output, and predictions of the teacher's features by name."""
        features = self.network.encode(images)
        told = {name: layer(values).float() for (name, layer), values in zip(self.tell.items(), features[-2:], strict=True)}
        return self.network.decode(images, features), told


class Run:
    """A training run, in one of its processes."""

    def __init__(self, options: Options, rank: int) -> None:
        self.options, self.rank = options, rank
        torch.manual_seed(options.seed)
        self.device = torch.device(options.device)
        self.network = TinyNetwork(TINY_2)
        if options.begin is not None:
            known = read_state(options.begin)
            grow(self.network, {name: value.float() for name, value in known.items()})
            keep_statistics(self.network, known)
        self.network.to(self.device).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]  torch's stubs forget it
        self.average = TinyNetwork(TINY_2).to(self.device).to(memory_format=torch.channels_last).eval().requires_grad_(False)  # pyright: ignore[reportCallIssue]
        self.average.load_state_dict(self.network.state_dict())
        if options.only_sky:
            learn_sky_alone(self.network, options.only_sky)
        decay = 0.0 if options.only_sky else WEIGHT_DECAY
        weights = [p for p in self.network.parameters() if p.ndim > 1]
        others = [p for p in self.network.parameters() if p.ndim <= 1]
        self.student = Student(self.network, TINY_2.channels).to(self.device)
        groups = [
            {"params": weights, "weight_decay": decay},
            {"params": others, "weight_decay": 0.0},
            {"params": list(self.student.tell.parameters()), "weight_decay": 0.0},
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=options.peak_rate, fused=True)
        self.followed = floating(self.network), floating(self.average)
        self.teachers = load_teachers(options.teach, self.device)
        self.step, self.seconds, self.best = 0, 0.0, -1.0
        if (path := options.run / "checkpoint.pt").exists():
            self.load(torch.load(path, weights_only=True, map_location=self.device))

    @property
    def progress(self) -> float:
        """The share of the training that is done, 0 to 1."""
        if self.options.steps:
            return self.step / self.options.steps
        return self.seconds / (60 * self.options.minutes)

    def rate(self) -> float:
        """The current learning rate: a short warm-up, then a cosine."""
        cosine = 0.5 + 0.5 * float(torch.cos(torch.tensor(min(1.0, self.progress) * torch.pi)))
        return (LAST_RATE + (self.options.peak_rate - LAST_RATE) * cosine) * min(1.0, (self.step + 1) / WARM_UP_STEPS)

    def train_step(self, crops: Crops, small: Crops) -> dict[str, float]:
        """One step on one batch of this process, with gradients averaged over all; small images come from the halved crops."""
        random = torch.Generator().manual_seed((self.options.seed * 1_000_003 + self.step) * 64 + self.rank)
        shared = torch.Generator().manual_seed(self.options.seed * 7_000_003 + self.step)
        curriculum = CURRICULUM if self.options.begin is None else WARM_CURRICULUM
        sizes = next((sizes for until, sizes in curriculum if self.progress < until), curriculum[-1][1])
        short, long = sizes[int(torch.randint(len(sizes), (), generator=shared))]
        count = max(1, IMAGES[self.device.type] * COUNTED_IMAGE // (short * long))
        drawn_from = small if 2 * short <= CROP_SHORT else crops
        batch = sample_batch(drawn_from, count, short, long, random, self.options.plain)
        batch = taught(batch, self.teachers, self.options.label_share)
        # on a CPU, back-propagation through unfused attention is four times as fast for so few tokens
        attention = sdpa_kernel([SDPBackend.MATH]) if self.device.type == "cpu" else nullcontext()
        with attention:
            with torch.autocast(self.device.type, torch.bfloat16):
                output, told = self.student(batch.images)
            steady_weight = PLAIN_STEADY_WEIGHT if self.options.plain else STEADY_WEIGHT
            loss, figures = training_loss(output, batch, None if self.options.only_sky else told, steady_weight)
            self.optimiser.zero_grad(set_to_none=True)
            loss.backward()
        if self.options.processes > 1:
            average_gradients(self.student, self.options.processes)
        nn.utils.clip_grad_norm_(self.student.parameters(), CLIP)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        self.optimiser.step()
        self.step += 1
        self._follow()
        return figures

    @torch.no_grad()
    def _follow(self) -> None:
        decay = min(EMA_DECAY, (self.step + 1) / (self.step + 10))
        for value, mean in zip(*self.followed, strict=True):
            mean.lerp_(value, 1 - decay)

    def state(self) -> dict[str, Any]:
        """Everything needed to resume."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "tell": self.student.tell.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "best": self.best,
            "only_sky": self.options.only_sky,
            "teach": self.options.teach_names,
        }

    def load(self, state: dict[str, Any]) -> None:
        """Resumes from `state()`.

        Raises:
            ValueError: The run trained the sky only and is to train all, or vice versa; or it had other teachers.
        """
        if (names := state.get("teach", [])) != self.options.teach_names:
            raise ValueError(
                f"{self.options.run} was taught by {' '.join(names) or 'nobody'}: "
                "go on with the same --teach and --label-share, or take another --run"
            )
        if (state.get("only_sky") or "") != self.options.only_sky:
            begun = f"with --only-sky {state['only_sky']}" if state.get("only_sky") else "without --only-sky"
            raise ValueError(f"{self.options.run} was begun {begun}: take another --run")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.student.tell.load_state_dict(state["tell"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.seconds, self.best = state["step"], state["seconds"], state["best"]


def grow(network: TinyNetwork, state: Mapping[str, Tensor]) -> None:
    """Copies the first version's weights to equal layers of the second, which then predicts the same maps, enlarged.

    Transformer blocks that the first version lacks are initialised to the identity.

    Raises:
        ValueError: Weights have no place in the network.
    """
    blocks = {int(name.split(".")[1]) for name in state if name.startswith("attention.")}
    with torch.no_grad():
        for index, block in enumerate(network.attention):
            for layer in () if index in blocks else (block.project, block.shrink):
                for value in layer.parameters():  # pyright: ignore[reportAttributeAccessIssue]
                    value.zero_()
    unknown = network.load_state_dict(dict(state), strict=False).unexpected_keys
    if unknown:
        raise ValueError(f"{len(unknown)} weights have no place in the network (first: {unknown[0]}): not weights of the first version")


def keep_statistics(network: nn.Module, known: Collection[str]) -> None:
    """Freezes known batch-norm statistics, so that training uses the same ones as inference, whatever a batch contains."""
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and f"{name}.running_mean" in known:
            module.eval()


def learn_sky_alone(network: TinyNetwork, part: str) -> None:
    """Freezes everything but the layers that predict the sky from features; with `part` "scene", everything but the layer `scene`."""
    assert network.fine is not None
    network.eval().requires_grad_(False)
    for layer in (network.fine.scene,) if part == "scene" else (network.fine.sky, network.fine.scene, network.fine.last):
        layer.requires_grad_(True)
    if part == "scene":
        return
    for values in network.fine.last.parameters():
        values.register_hook(lambda gradient: torch.cat((torch.zeros_like(gradient[:SKY]), gradient[SKY:])))


def floating(network: nn.Module) -> list[Tensor]:
    """Parameters and running statistics, without counters."""
    return [value.detach() for value in network.state_dict().values() if value.is_floating_point()]


def average_gradients(network: nn.Module, processes: int) -> None:
    """Replaces the gradients by their mean over all processes."""
    gradients = [parameter.grad for parameter in network.parameters() if parameter.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    for gradient, mean in zip(gradients, (flat / processes).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def shared_clock(seconds: float, stop: bool, processes: int) -> tuple[float, bool]:
    """The first process's seconds, and whether any wants to stop, so that all decide alike."""
    if processes == 1:
        return seconds, stop
    values = torch.tensor([seconds if dist.get_rank() == 0 else 0.0, float(stop)], dtype=torch.float64)
    dist.all_reduce(values)
    return float(values[0]), bool(values[1])


@torch.inference_mode()
def validate(network: nn.Module, crops: Crops) -> float:
    """Mean correlation with the teacher on the largest crops of the validation photographs."""
    scores, device = [], next(network.parameters()).device
    for images, targets in crops.whole(*VALIDATION_SIZE):
        disparity = network(images.to(device))[:, :1].cpu()
        scores += correlation(disparity, normalised_target(targets)).tolist()
    return sum(scores) / max(1, len(scores))


def save(state: object, path: Path) -> None:
    """Writes a checkpoint atomically."""
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    temporary.replace(path)


def work(rank: int, options: Options) -> None:
    """One training process."""
    torch.set_num_threads(1)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    stopping: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stopping.append(number))
    if options.processes > 1:
        dist.init_process_group("gloo", init_method=f"file://{options.run.resolve()}/rendezvous", rank=rank, world_size=options.processes)
    run = Run(options, rank)
    crops = load_crops(options.data, "train", rank, options.processes, sharp=bool(options.teach), drawn=bool(options.only_sky)).to(
        run.device
    )
    logger.info("process %d learns from %d crops of photographs, %d renders and %d videos", rank, *crops.counts())
    _, shown = shared_clock(0.0, bool(options.only_sky) and crops.show_sky(), options.processes)
    if options.only_sky and not shown:
        raise ValueError(f"{options.data} does not say where the sky is: run training.skies or training.scenes first")
    small = crops if options.begin else crops.halved()  # a trained network never draws from the halved crops
    validation = load_crops(options.data, "val", 0, 1, photographs_only=True, first_only=True) if rank == 0 else None
    bar = tqdm(total=1.0, initial=min(1.0, run.progress), disable=rank > 0, bar_format="{l_bar}{bar}| {elapsed} {postfix}")
    saved, sums, count, began = time.monotonic(), {}, 0, time.monotonic()
    stop = False
    while run.progress < 1 and not stop:
        start = time.monotonic()
        for name, value in run.train_step(crops, small).items():
            sums[name] = sums.get(name, 0.0) + value
        count += 1
        run.seconds, stop = shared_clock(run.seconds + min(LONGEST_STEP, time.monotonic() - start), bool(stopping), options.processes)
        if rank == 0 and run.step % 50 == 0:
            means = {name: round(value / count, 4) for name, value in sums.items()}
            speed = round(count / (time.monotonic() - began), 2)
            report(options.run, step=run.step, progress=round(run.progress, 4), rate=run.rate(), steps_per_second=speed, **means)
            bar.update(min(1.0, run.progress) - bar.n)
            bar.set_postfix(step=run.step, **means)
            sums, count, began = {}, 0, time.monotonic()
        if validation is not None and (stop or run.progress >= 1 or time.monotonic() - saved > 60 * options.save_minutes):
            checkpoint(run, validation)
            saved = time.monotonic()
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # may arrive twice, from outside and from the first process
    if options.processes > 1:
        dist.barrier()  # the first validates and saves for seconds: a process that left meanwhile would break its connection
        dist.destroy_process_group()


def checkpoint(run: Run, validation: Crops) -> None:
    """Validates the averaged weights and saves them; keeps the best separately, with `only_sky` the last."""
    score = validate(run.average, validation)
    report(run.options.run, step=run.step, progress=round(run.progress, 4), validation=round(score, 4))
    if run.options.only_sky or score > run.best:  # the sky does not affect the score
        run.best = score
        save(run.average.state_dict(), run.options.run / "best.pt")
    save(run.state(), run.options.run / "checkpoint.pt")


def report(folder: Path, **figures: object) -> None:
    """Appends a line to the log of figures."""
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(figures) + "\n")


def parse() -> Options:
    """The options of the command line."""
    parser = data_parser(__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=240, help="of training in all, earlier parts of the run included")
    parser.add_argument("--steps", type=int, help="instead of minutes")
    parser.add_argument("--processes", type=int, default=2, help="one thread each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save-minutes", type=float, default=4)
    parser.add_argument("--peak-rate", type=float, help=f"{PEAK_RATE}; with --begin {WARM_PEAK_RATE}: a larger one unlearns")
    parser.add_argument("--begin", type=Path, help="weights of an earlier network to begin from, such as annotators/tiny.safetensors")
    only = "what reads the sky off the features, or off the deepest alone (scene); all else stays as --begin has it"
    parser.add_argument("--only-sky", nargs="?", const="all", default="", choices=("all", "scene"), help=only)
    plain = f"most images as they were taken, fewer renders; steadiness weighs {PLAIN_STEADY_WEIGHT:g} instead of {STEADY_WEIGHT:g}"
    parser.add_argument("--plain", action="store_true", help=plain)
    own = "disparity and normals of photographs are what these say of the very windows learned from, mirrored too, not what was kept"
    teach = f"{own} (but for --label-share)"
    files = "exported files or best.pt of earlier runs, each with the short side of what it sees"
    parser.add_argument("--teach", type=file_and_size, nargs="+", default=(), metavar="FILE@SIZE", help=f"{teach}: {files}")
    kept = "with --teach: how much of the disparity of photographs is the label that was kept, 0 to 1; the rest is what is said"
    parser.add_argument("--label-share", type=float, default=0.0, help=kept)
    parser.add_argument("--device", choices=IMAGES, default="cpu", help="cuda: one process, mixed precision")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        arguments.processes = 1
    if arguments.only_sky and arguments.teach:
        parser.error("--only-sky learns the sky alone, of which --teach says nothing: leave one out")
    if not 0 <= arguments.label_share <= 1 or (arguments.label_share and not arguments.teach):
        parser.error(f"--label-share {arguments.label_share:g}: expected 0 to 1, and only beside --teach")
    if arguments.only_sky and arguments.begin is None:
        parser.error("--only-sky needs --begin: a network whose features are learned")
    if arguments.peak_rate is None:
        arguments.peak_rate = SKY_RATE if arguments.only_sky else WARM_PEAK_RATE if arguments.begin else PEAK_RATE
    return Options(**vars(arguments))


def main() -> None:
    """See the module."""
    options = parse()
    options.run.mkdir(parents=True, exist_ok=True)
    (options.run / "rendezvous").unlink(missing_ok=True)
    if options.processes == 1:
        (options.run / "train.pid").write_text(f"{os.getpid()}\n")
        work(0, options)
        return
    context = spawn(work, (options,), options.processes, join=False)
    assert context is not None
    (options.run / "train.pid").write_text(" ".join(map(str, [os.getpid(), *context.pids()])) + "\n")
    signal.signal(signal.SIGTERM, lambda number, _: [os.kill(pid, number) for pid in context.pids()])
    while not context.join():
        pass


if __name__ == "__main__":
    main()
