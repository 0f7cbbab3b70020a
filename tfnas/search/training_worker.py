"""A process that trains candidates for `evaluate_training`.

It reads JSON lines: first the class of a training and its settings, then
networks. To each network it answers `{"score": accuracy}`, null if training
diverged, or `{"error": message}`. It ends when there is nothing more to read.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import signal
import sys
from typing import Any

from tfnas.arch import Arch
from tfnas.errors import TfnasError


def main() -> None:
    """Answers until the input ends."""
    # Ctrl-C reaches all processes of a terminal; who started us decides.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    settings = json.loads(sys.stdin.readline())
    module = importlib.import_module(settings.pop("module"))
    training = getattr(module, settings.pop("name"))(**settings)
    for line in sys.stdin:
        answer: dict[str, Any]
        try:
            score = training.score(Arch.from_json(json.loads(line)))
            answer = {"score": score if math.isfinite(score) else None}
        except TfnasError as error:
            answer = {"error": str(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
