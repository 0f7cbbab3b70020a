"""What a tuning found: the best recipe, beside the one that was given."""

from __future__ import annotations

import pathlib
from typing import Any

from tfnas import artifacts
from tfnas.data import Dataset
from tfnas.errors import TfnasError
from tfnas.train import run_state
from tfnas.train.retrain import retrain
from tfnas.train.retrain import save_model
from tfnas.tuning.tuner import NETWORK
from tfnas.tuning.tuner import OBJECTIVE
from tfnas.tuning.tuner import RecipeTuner

FORMAT = "tfnas-tuned/1"


def finish(
    tuner: RecipeTuner, dataset: Dataset, workdir: pathlib.Path,
    limits: dict[str, Any],
) -> dict[str, Any]:
    """Trains what stands beside the trials; writes the result.

    The recipe as it was given is trained like a trial, in `given/`; the best
    recipe on all training images, in `best/`, with its model and config.

    Args:
        tuner: After its search.
        dataset: The images, the test images among them.
        workdir: Folder of the tuning.
        limits: What was asked of the networks, and what they cost.

    Returns:
        What `result.json` holds: `best` is the record of the best of the
        longest trials (see `RecipeTuner.records`); `given` has the accuracy
        of the recipe as it was given, as long and on the same images;
        `test_accuracy` is that of the best recipe, trained on all training
        images; `overrides` are flags that give `tfnas-train` the best
        recipe, none where no trial was better than the recipe as given.

    Raises:
        TfnasError: when no trial came to an end.
    """
    records = tuner.records()
    done = [r for r in records if r[OBJECTIVE] is not None]
    if all(r["diverged"] for r in done):
        raise TfnasError(
            "every trial diverged; lower rates may help. Received: "
            f"{len(records)} trials in {workdir}/trials"
        )
    longest = max(r["epochs"] for r in done)
    best = max(
        (r for r in done if r["epochs"] == longest), key=lambda r: r[OBJECTIVE]
    )
    config = tuner.config.copy_and_resolve_references()
    config.train.test_every = config.train.epochs
    first = next(iter(tuner.archs))
    arch = tuner.archs[best["values"].get(NETWORK, first)]
    given = tuner.train(arch, config, workdir / "given", "recipe as given")
    better = best[OBJECTIVE] > given
    tuned = tuner.make(best["values"])[1] if better else config
    model, accuracy = retrain(
        arch, tuned, workdir / "best", dataset, title="best recipe"
    )
    save_model(model, workdir / "best" / "model.keras")
    arch.save(workdir / "best" / "arch.json")
    overrides = [
        f"--config.train.{name}={value}"
        for name, value in best["values"].items()
        if better and name != NETWORK
    ]
    result = {
        "format": FORMAT, "tuner": tuner.tune["tuner"],
        "seed": tuner.config.seed, "arch_id": arch.id, "limits": limits,
        "best": best, "given": {OBJECTIVE: given},
        "test_accuracy": accuracy, "overrides": overrides,
        "trials": records, "versions": run_state.versions(),
    }
    artifacts.write_json(workdir / "result.json", result)
    return result
