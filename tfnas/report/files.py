"""Where the files of a run lie, and what to type next."""

from __future__ import annotations

import shlex
from pathlib import Path

from tfnas.report.workdir import Run

MODELS = ("model.keras", "model_float32.tflite", "model_int8.tflite")


def of_result(run: Run) -> tuple[Path, ...]:
    """Returns the models of the network that was found, and its arch.

    Args:
        run: A run, or a single search, which has no models yet.
    """
    for network in run.networks:
        folder = run.path / "derived" / network.arch_id
        models = [p for name in MODELS if (p := folder / name).is_file()]
        if network.role == "searched" and models:
            return (folder / "arch.json", *models)
    return ()


def next_commands(run: Run) -> tuple[str, ...]:
    """Returns commands for the files of the result, ready to be typed."""
    files = of_result(run)
    models = files[1:]
    data = (run.config or {}).get("data")
    data = data if isinstance(data, dict) else {}
    name, commands = data.get("name"), []
    # With some of the classes only, it takes the config that chose them.
    if isinstance(name, str) and not any(
        data.get(field) for field in ("classes", "split_list")
    ):
        words = ["tfnas-evaluate", f"--data={name}"]
        words += [f"--model={path}" for path in models]
        commands.append(shlex.join(words))
    if timed := [f for f in files if f.suffix == ".tflite"]:
        commands.append(shlex.join(["tflite-bench", *map(str, timed)]))
    return tuple(commands)


def text(run: Run) -> str:
    """Returns both for a terminal; empty where there are no files."""
    files, commands = of_result(run), next_commands(run)
    if not files:
        return ""
    return "\n".join([
        "The network found (its models say how they want to be fed):",
        *(f"  {path}" for path in files),
        "next:",
        *(f"  {command}" for command in commands),
    ])
