"""Measure and check mtl-runner on a GPU, in one call of less than ten minutes.

    python scripts/benchmark/gpu.py                  # on a machine with a GPU
    python scripts/benchmark/gpu.py --device cpu     # a rehearsal: everything small, on the CPU
    python scripts/benchmark/gpu.py --blocks 1 5     # some blocks only

It needs torch, and no network. On a bare machine three wheels are to be carried along:
hydra-core, omegaconf and antlr4-python3-runtime 4.9; whatever else is missing is named, and its
block is left out. Every block prints its table as soon as it has one, so that a call which runs out
of time has told something.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1])]
WHEELS = ("hydra", "omegaconf", "antlr4")

from tables import Table  # noqa: E402


class Machine:
    """The device to be measured, and how large the measurements are.

    Args:
        device: ``"cuda"``, or ``"cpu"`` for a rehearsal.
        folder: Folder for the CSV files; None: only print.
    """

    def __init__(self, device: str, folder: Path | None) -> None:
        self.device, self.folder = device, folder
        self.is_gpu = device.startswith("cuda")

    def table(self, name: str, columns: Sequence[str]) -> Table:
        """Return a new table."""
        file = self.folder / f"gpu_{name}.csv" if self.folder else None
        return Table(columns, file, "python scripts/benchmark/gpu.py --csv docs/tables")

    def wait(self) -> None:
        """Wait until the device has done all its work."""
        if self.is_gpu:
            torch.cuda.synchronize()

    def milliseconds(self, function: Callable[[], Any], calls: int, rounds: int = 5) -> float:
        """Return the median wall time of a call, after one round that warms up."""
        times = []
        for number in range(rounds + 1):
            self.wait()
            before = time.perf_counter()
            for _ in range(calls):
                function()
            self.wait()
            if number:
                times.append((time.perf_counter() - before) / calls * 1000)
        return statistics.median(times)


def trainer_of(device: str, *options: str, data: dict[str, Any] | None = None) -> Any:
    """Return the trainer of a run in a temporary directory.

    Args:
        device: The device of the run.
        options: Its options.
        data: The config of a dataset of this file's; None: the options name one.
    """
    from hydra import compose, initialize_config_dir
    from omegaconf import open_dict

    from mtl_runner.config.conf_directory import conf_directory
    from mtl_runner.experiment.build import build
    from mtl_runner.train.trainer import Trainer

    with initialize_config_dir(str(conf_directory()), version_base="1.3"):
        config = compose("config", ["name=gpu", f"trainer.device={device}", *options])
    if data is not None:
        with open_dict(config):
            config.data = data
    return Trainer(build(config), Path(tempfile.mkdtemp()))


def buffer_of(trainer: Any) -> Any:
    """Return the records of an epoch of a trainer's."""
    from mtl_runner.train.epoch_record import EpochBuffer

    return EpochBuffer(
        trainer.tasks, trainer.batches.count, trainer.experiment.device, trainer.learner.layout
    )


def steps_of(trainer: Any) -> Callable[[], None]:
    """Return a function that takes the next step of a run, with its records."""

    def endless() -> Any:
        while True:
            yield from trainer.batches.epoch(0)

    batches, buffer = endless(), buffer_of(trainer)
    trainer.learner.model.train()

    def step() -> None:
        batch, active = next(batches)
        buffer.add(trainer.learner.step(batch, active), active)
        if len(buffer.actives) == trainer.batches.count:
            buffer.actives, buffer.stored = [], 0
            buffer.records.clear()

    return step


def command(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start the real command ``mtl-run``."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    return subprocess.Popen(
        [sys.executable, "-m", "mtl_runner", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def versions(machine: Machine) -> None:
    """0: versions of what is measured."""
    print(f"torch {torch.__version__}, Python {sys.version.split()[0]}, {os.cpu_count()} cores")
    if machine.is_gpu:
        properties = torch.cuda.get_device_properties(0)
        print(
            f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB, CUDA {torch.version.cuda}"
        )


def synchronisations(machine: Machine) -> None:
    """1: how often the host waits for the device in an epoch, for every weighting."""
    names = sorted(path.stem for path in (HERE.parents[1] / "conf" / "weighting").glob("*.yaml"))
    table = machine.table("syncs", ["weighting", "steps", "waits in these steps", "first one"])
    for name in names if machine.is_gpu else names[:3]:
        options = ("data=digits", "trainer.epochs=2", f"weighting={name}")
        try:
            trainer = trainer_of(machine.device, *options)
            step, count = steps_of(trainer), trainer.batches.count
            for _ in range(count):
                step()
            machine.wait()
            with warnings.catch_warnings(record=True) as waits:
                warnings.simplefilter("always")
                if machine.is_gpu:
                    torch.cuda.set_sync_debug_mode("warn")
                for _ in range(count - 1):
                    step()
                if machine.is_gpu:
                    torch.cuda.set_sync_debug_mode("default")
            synchronous = [w for w in waits if "synchroniz" in str(w.message)]
            first = "-"
            if synchronous:
                first = f"{Path(synchronous[0].filename).name}:{synchronous[0].lineno}"
            table.row([name, str(count - 1), str(len(synchronous)), first])
        except Exception as error:
            table.row([name, "-", "-", str(error).splitlines()[0][:90]])
        finally:
            if machine.is_gpu:
                torch.cuda.set_sync_debug_mode("default")


def small_runs(machine: Machine) -> None:
    """2: a step of a small single run, as it is and compiled (on a GPU as a CUDA graph)."""
    from mtl_runner.train.stack import StackTrainer

    table = machine.table("small", ["data", "hidden", "ms/step", "compiled: ms/step", "ratio"])
    for data, hidden in (("toy_regression", 64), ("toy_regression", 1024), ("digits", 64)):
        options = (f"data={data}", f"model.hidden=[{hidden}]", "weighting=uncertainty")
        alone = trainer_of(machine.device, *options)
        buffer = buffer_of(alone)
        epochs = 20 if machine.is_gpu else 2
        eager = machine.milliseconds(lambda: alone.train_epoch(buffer), epochs)  # noqa: B023
        stack = StackTrainer([trainer_of(machine.device, *options)], compiled=True)
        compiled = machine.milliseconds(stack._train_epoch, epochs)
        count = alone.batches.count
        table.row(
            [
                *(data, str(hidden), f"{eager / count:.3f}", f"{compiled / count:.3f}"),
                f"{compiled / eager:.2f}x",
            ]
        )


def stacks(machine: Machine) -> None:
    """3: a step of stacks, and whether a replica equals the single run."""
    from mtl_runner.train.stack import StackTrainer

    columns = ["replicas", "ms/step and replica", "compiled", "largest difference to single run"]
    table = machine.table("stacks", columns)
    options = ("data=digits", "weighting=uncertainty", "model.hidden=[64]")
    for replicas in (1, 8, 32, 128) if machine.is_gpu else (1, 4):
        seeds = [(*options, f"seed={seed}") for seed in range(replicas)]
        single = trainer_of(machine.device, *seeds[-1])
        single.train_epoch(buffer_of(single))
        times, differences = [], []
        for compiled in (False, True):
            trainers = [trainer_of(machine.device, *seed) for seed in seeds]
            stack = StackTrainer(trainers, compiled=compiled)
            stack._train_epoch()
            pairs = zip(
                single.learner.model.parameters(),
                trainers[-1].learner.model.parameters(),
                strict=True,
            )
            differences.append(max(float((a - b).detach().abs().max()) for a, b in pairs))
            wall = machine.milliseconds(stack._train_epoch, 5 if machine.is_gpu else 1, rounds=3)
            times.append(wall / single.batches.count / replicas)
        table.row([str(replicas), *(f"{t:.4f}" for t in times), f"{max(differences):.1e}"])


class Images(torch.utils.data.Dataset[Any]):
    """JPEG files with two labels each."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = list(files)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Any:
        """Return an image ``[3, size, size]`` and its labels."""
        from torchvision.io import ImageReadMode, decode_image

        image = decode_image(str(self.files[index]), ImageReadMode.RGB).float() / 255
        return image, {"kind": index % 10, "size": float(index % 7)}


class ImageData:
    """The splits of :class:`Images`, in files that are made first."""

    def __init__(self, count: int, size: int) -> None:
        from torchvision.io import write_jpeg

        from mtl_runner import Task

        folder, generator = Path(tempfile.mkdtemp()), torch.Generator().manual_seed(0)
        files = []
        for number in range(count):
            picture = torch.randint(0, 256, (3, size // 8, size // 8), generator=generator)
            picture = torch.nn.functional.interpolate(picture[None].float(), scale_factor=8)[0]
            files.append(folder / f"{number}.jpg")
            write_jpeg(picture.byte(), str(files[-1]))
        self.tasks = [Task("kind", "classification"), Task("size")]
        self.splits = {
            "train": Images(files),
            "val": Images(files[: count // 10]),
            "test": Images(files[: count // 10]),
        }


def images(machine: Machine) -> None:
    """4: ResNet-50 in bf16: images per second beside a plain loop, from memory and from files."""
    if importlib.util.find_spec("timm") is None:
        print("left out: it needs timm, pip install 'mtl-runner[timm]'")
        return
    import timm

    size, rows, name = (224, 256, "resnet50") if machine.is_gpu else (32, 8, "resnet18")
    table = machine.table("images", ["loop", "images/s", "to plain"])
    model = timm.create_model(name, num_classes=11).to(machine.device)
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)
    batch = torch.rand(rows, 3, size, size, device=machine.device)
    kinds = torch.randint(0, 10, (rows,), device=machine.device)
    sizes = torch.rand(rows, 1, device=machine.device)

    def plain() -> None:
        with torch.autocast(machine.device, torch.bfloat16, enabled=machine.is_gpu):
            outputs = model(batch.to(memory_format=torch.channels_last))
        outputs = outputs.float()
        loss = torch.nn.functional.cross_entropy(outputs[:, :10], kinds)
        loss = loss + torch.nn.functional.mse_loss(outputs[:, 10:], sizes)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    calls = 10 if machine.is_gpu else 1
    base = machine.milliseconds(plain, calls, rounds=3)
    table.row(["plain loop, from memory", f"{rows / base * 1000:.0f}", "1.00x"])
    from mtl_runner.data.dataset import Split
    from mtl_runner.tasks.activity import Active

    precision = "bf16" if machine.is_gpu else "float32"
    model_options = (
        *("model=backbone", f"model.name={name}", "model.weights=null", "trainer.epochs=2"),
        f"trainer.precision={precision}",
    )
    sys.modules.setdefault("gpu_benchmark", sys.modules[__name__])
    workers = 14 if machine.is_gpu else 1
    data = {
        "_target_": "gpu_benchmark.ImageData",
        **{"count": 4 * rows, "size": size, "batch_size": rows, "loader": {"workers": workers}},
    }
    for update in ("weighting=fixed", "weighting=upgrad", "weighting=per_task_adam"):
        try:
            trainer = trainer_of(machine.device, *model_options, update, data=data)
        except Exception as error:
            table.row([f"mtl-runner, {update}", str(error).splitlines()[0][:90], "-"])
            continue
        split = Split(batch, {"kind": kinds, "size": sizes})
        active = Active.all(2)
        trainer.learner.model.train()
        wall = machine.milliseconds(lambda: trainer.learner.step(split, active), calls, rounds=3)  # noqa: B023
        table.row(
            [
                f"mtl-runner, {update}, from memory",
                f"{rows / wall * 1000:.0f}",
                f"{wall / base:.2f}x",
            ]
        )
    trainer = trainer_of(machine.device, *model_options, "weighting=fixed", data=data)
    step = steps_of(trainer)
    wall = machine.milliseconds(step, calls, rounds=3)
    table.row(
        [
            f"mtl-runner, JPEGs, {workers} workers",
            f"{rows / wall * 1000:.0f}",
            f"{wall / base:.2f}x",
        ]
    )


def same_bytes(machine: Machine) -> None:
    """5: two runs, and one that is killed in the middle, leave the same bytes."""
    table = machine.table("bytes", ["run", "exit status", "metrics.csv"])
    folder = Path(tempfile.mkdtemp())
    options = (
        *("data=digits", "weighting=uncertainty", "trainer.epochs=60", "record.plots=none"),
        *(f"trainer.device={machine.device}", "trainer.checkpoint_every='50 steps'"),
    )
    contents = {}
    for name in ("first", "second", "killed"):
        process = command(*options, f"hydra.run.dir={folder / name}")
        if name == "killed":
            while not (folder / name / "checkpoint.pt").exists() and process.poll() is None:
                time.sleep(0.05)
            process.send_signal(signal.SIGKILL)
            process.communicate()
            process = command(f"resume={folder / name}")
        output, _ = process.communicate()
        file = folder / name / "metrics.csv"
        contents[name] = file.read_bytes() if file.exists() else b""
        same = "the first" if name == "first" else "same bytes"
        if contents[name] != contents["first"] or not contents[name]:
            same = "OTHER BYTES"
        table.row([name, str(process.returncode), same])
        if process.returncode:
            print(output[-1500:])


def one_rank(machine: Machine) -> None:
    """6: a world of one process, through torchrun and NCCL."""
    folder = Path(tempfile.mkdtemp())
    options = (
        *("data=digits", "weighting=uncertainty", "trainer.epochs=3", "record.plots=none"),
        f"trainer.device={machine.device}",
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1"]
    table = machine.table("torchrun", ["run", "exit status", "seconds"])
    for name, first in (("mtl-run", [sys.executable]), ("torchrun, one process", start)):
        before = time.perf_counter()
        done = subprocess.run(
            [*first, "-m", "mtl_runner", *options, f"hydra.run.dir={folder / name.split(',')[0]}"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        table.row([name, str(done.returncode), f"{time.perf_counter() - before:.1f}"])
        if done.returncode:
            print((done.stdout + done.stderr)[-1500:])


def ends(machine: Machine) -> None:
    """7: out of memory in words, and a run of the GPU that is loaded on the CPU."""
    folder = Path(tempfile.mkdtemp())
    if machine.is_gpu:
        process = command(
            *("data=toy_regression", "data.n=2000000", "data.batch_size=2000000"),
            *("model.hidden=[20000,20000]", "trainer.epochs=1", f"hydra.run.dir={folder / 'oom'}"),
        )
        print("out of memory:", process.communicate()[0].strip().splitlines()[-1:])
    options = ("data=digits", "trainer.epochs=2", f"trainer.device={machine.device}")
    process = command(*options, f"hydra.run.dir={folder / 'run'}")
    output, _ = process.communicate()
    if process.returncode:
        print(output[-1500:])
        return
    hidden = {**os.environ, "PYTHONPATH": str(HERE.parents[1]), "CUDA_VISIBLE_DEVICES": ""}
    code = f"import mtl_runner; print(mtl_runner.load({str(folder / 'run')!r}))"
    done = subprocess.run(
        [sys.executable, "-c", code], env=hidden, capture_output=True, text=True, check=False
    )
    print("loaded where there is no GPU:", done.returncode == 0)
    if done.returncode:
        print(done.stderr[-1500:])


BLOCKS = (versions, synchronisations, small_runs, stacks, images, same_bytes, one_rank, ends)


def main() -> None:
    """Run the blocks that are asked for; one that fails does not keep the others from running."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--blocks", type=int, nargs="+", default=list(range(len(BLOCKS))))
    parser.add_argument("--csv", type=Path, metavar="FOLDER", help="write the tables there, too")
    options = parser.parse_args()
    missing = [name for name in WHEELS if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(
            f"Missing here: {', '.join(missing)}; carry the wheels of hydra-core, omegaconf and antlr4-python3-runtime==4.9.3."
        )
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        sys.exit("This machine has no CUDA GPU; rehearse with --device cpu.")
    machine = Machine(options.device, options.csv)
    for number in options.blocks:
        before = time.perf_counter()
        print(f"\n## {BLOCKS[number].__doc__}\n", flush=True)
        try:
            BLOCKS[number](machine)
        except Exception:
            traceback.print_exc(limit=-6)
        print(f"\n({time.perf_counter() - before:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
