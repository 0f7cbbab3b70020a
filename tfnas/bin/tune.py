"""Tunes the recipe of a network: learning rate, decay, augmentation, dropout.

    tfnas-tune --config=tune:local --arch=arch.json --workdir=runs/tune

KerasTuner chooses the values (`--tuner=hyperband`, `bayesian` or `random`),
each trial trains the network on a part of the training images and is scored
on the rest. What may be changed stands in the section `tune` of the config.
`--arch=a.json,b.json` lets the tuner choose the network, too; networks beyond
--max_latency_ms or --max_size_kb (of their int8 file) are left out at once.
The same command again goes on where it was killed.

--workers=2 trains two trials side by side on this machine. On several
machines start the same command, with a --workdir that all share, on each:
with KERASTUNER_ORACLE_IP and KERASTUNER_ORACLE_PORT of the first, and
KERASTUNER_TUNER_ID=chief there and tuner0, tuner1, ... elsewhere.
"""

from __future__ import annotations

import os
import pathlib
import socket
import subprocess
import sys
import threading
import time
from typing import Any

from absl import flags

from tfnas import artifacts
from tfnas import cli
from tfnas import seeds
from tfnas.bin import archs
from tfnas.bin import checks
from tfnas.bin import configs
from tfnas.bin import limits
from tfnas.bin import options
from tfnas.errors import TfnasError
from tfnas.tuning import space

_CONFIG = configs.define_config()
_WORKDIR = options.define_workdir()
_ARCHS = flags.DEFINE_list(
    "arch", None, "The network: a JSON file or the name of a published one; "
    "several, with commas between, to choose from.", required=True,
)
_TUNER = flags.DEFINE_enum(
    "tuner", None, space.TUNERS, "Who chooses, instead of the config's."
)
_TRIALS = flags.DEFINE_integer(
    "trials", None, "Trials of bayesian and random, instead of the config's.",
    lower_bound=1,
)
_WORKERS = flags.DEFINE_integer(
    "workers", 1, "Trials that train side by side on this machine.",
    lower_bound=1,
)
_SEED = seeds.define("Seed, instead of the config's.")
limits.define_limits()

_CHIEF = "KERASTUNER_ORACLE_IP"
_PARENT = "TFNAS_TUNE_PARENT"  # process that started this one
_LOOK_S = 0.5  # between two looks at the workers


def main(argv: list[str]) -> None:
    """Tunes, and trains what it found."""
    config = _merged()
    role = os.environ.get("KERASTUNER_TUNER_ID", "")
    folder = pathlib.Path(_WORKDIR.value)
    if role in ("", "chief") and (folder / "result.json").exists():
        artifacts.claim_workdir(folder, _claim(config))
        _report(artifacts.read_json(folder / "result.json"), folder)
        return
    if not role and _WORKERS.value > 1:
        _run_workers(_WORKERS.value)
        return
    checks.training(config)
    for text in _ARCHS.value:
        archs.get(text)
    if _PARENT in os.environ:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    cli.load_tensorflow()
    from tfnas import data
    from tfnas.tuning import outcome
    from tfnas.tuning.tuner import RecipeTuner

    dataset = data.load(config.data)
    networks, costs = limits.within(
        {
            text: archs.get(text, dataset.classes, dataset.image_shape)
            for text in _ARCHS.value
        }
    )
    artifacts.claim_workdir(folder, _claim(config))
    tuner = RecipeTuner(networks, config, dataset, folder)
    tuner.search()
    if role in ("", "chief"):
        _report(outcome.finish(tuner, dataset, folder, costs), folder)


def _merged() -> Any:
    """Returns the config with the flags put in and `tune` complete."""
    config = _CONFIG.value.copy_and_resolve_references()
    if _SEED.value is not None:
        config.seed = _SEED.value
    options.check_seeds(config)
    tune = space.settings(config)
    for name, value in (("tuner", _TUNER.value), ("trials", _TRIALS.value)):
        if value is not None:
            tune[name] = value
    with config.unlocked():
        config.tune = tune
    space.settings(config)
    return config


def _claim(config: Any) -> dict[str, Any]:
    """Returns what a workdir belongs to."""
    return {
        "config": config.to_dict(), "networks": list(_ARCHS.value),
        **limits.asked(),
    }


def _run_workers(number: int) -> None:
    """Runs a chief, which reports, and its workers until all have ended.

    Raises:
        TfnasError: when one of them fails; the others are ended, and the same
            command goes on.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [w for w in sys.argv[1:] if not w.lstrip("-").startswith("workers")]
    running = {}
    for name in ("chief", *(f"tuner{i}" for i in range(number))):
        running[name] = subprocess.Popen(
            [sys.executable, "-m", "tfnas.bin.tune", *words],
            env={
                **os.environ, "KERASTUNER_TUNER_ID": name, _CHIEF: "127.0.0.1",
                "KERASTUNER_ORACLE_PORT": str(port),
                _PARENT: str(os.getpid()),
            },
        )
    try:
        while any(p.poll() is None for p in running.values()):
            for name, process in running.items():
                if process.poll():
                    raise TfnasError(
                        f"{name} of the tuning failed; the same command goes "
                        f"on. Received: exit code {process.returncode}"
                    )
            time.sleep(_LOOK_S)
    finally:
        for process in running.values():
            if process.poll() is None:
                process.terminate()
            process.wait()


def _end_with_parent() -> None:
    """Ends a worker whose parent was killed: it may be started again."""
    while os.getppid() == int(os.environ[_PARENT]):
        time.sleep(_LOOK_S)
    os._exit(1)


def _report(result: dict[str, Any], folder: pathlib.Path) -> None:
    """Prints the trials, best first, and what to do with the best."""
    done = [r for r in result["trials"] if r["val_accuracy"] is not None]
    for row in sorted(done, key=lambda r: -r["val_accuracy"])[:10]:
        values = ", ".join(
            f"{k}={v:.4g}" if isinstance(v, float) else f"{k}={v}"
            for k, v in row["values"].items()
        )
        print(
            f"trial {row['trial']}: {100 * row['val_accuracy']:.2f} % after "
            f"{row['epochs']} epochs ({values})"
        )
    diverged = sum(r["diverged"] is not None for r in result["trials"])
    if diverged:
        print(f"{diverged} trials diverged; {folder}/result.json says how")
    given = result["given"]["val_accuracy"]
    print(
        f"recipe as given: {100 * given:.2f} %; the better one on the test "
        "images, trained on all training images: "
        f"{100 * result['test_accuracy']:.2f} % ({folder}/best/model.keras)"
    )
    if result["overrides"]:
        print("tfnas-train " + " ".join(result["overrides"]))
    else:
        print("no trial was better than the recipe as given")


def entry() -> None:
    """Runs the program `tfnas-tune`."""
    cli.run(main)


if __name__ == "__main__":
    entry()
