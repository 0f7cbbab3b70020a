#!/usr/bin/env bash
# MediaPipe is where TensorFlow's writers of .tflite metadata live on. Guess
# before the run: the current package writes an image classifier's labels and
# normalisation, as 0.10.21 does. Seen: 0.10.21 does; 0.10.35 and 1.2.3 hold the
# same Python files, but the native module that they import is not in the
# package, so importing them fails.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
look() {
    python3 -m venv "$folder/$1"
    "$folder/$1/bin/python" -m pip install --quiet "mediapipe==$1"
    (cd "$folder" && "$folder/$1/bin/python" - 2> /dev/null <<'PYTHON'
import importlib.metadata

import importlib.util
import pathlib

version = importlib.metadata.version("mediapipe")
home = pathlib.Path(importlib.util.find_spec("mediapipe").origin).parent
there = (home / "tasks/python/metadata/metadata.py").is_file()
try:
    from mediapipe.tasks.python.metadata.metadata_writers import (
        image_classifier,  # noqa: F401
    )
    print(version, "writers there:", there, "- imported")
except ModuleNotFoundError as error:
    print(version, "writers there:", there, "-", error)
PYTHON
    )
}
old=$(look 0.10.21) middle=$(look 0.10.35) new=$(look 1.2.3)
printf '%s\n' "$old" "$middle" "$new"
missing="writers there: True - No module named 'mediapipe.tasks.cc'"
[[ $old == "0.10.21 writers there: True - imported" ]]
[[ $middle == "0.10.35 $missing" && $new == "1.2.3 $missing" ]]
echo "as found"
