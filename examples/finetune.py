"""Teaches a network your own pictures and puts it into an int8 file.

    python examples/finetune.py PHOTOS PICTURE.jpg

PHOTOS holds train/<class>/ and val/<class>/ with pictures. It starts from the
network of the package that knows CIFAR-10, or from `--network` and `--weights`
(`python -m tfnas.applications` lists presets; `tfnas-import-weights` makes
weight files). Writes `classifier_int8.tflite`, which says itself how it wants
its pixels and what its classes are called, and says what is on the picture.
"""

import argparse
import pathlib

import keras
import numpy as np

from tfnas import applications
from tfnas import data
from tfnas import export

parser = argparse.ArgumentParser()
parser.add_argument("photos")
parser.add_argument("picture")
parser.add_argument("--network", default="tfnas_small")
parser.add_argument("--weights", default="cifar10",
                    help="a preset or a weight file; '' starts from scratch")
parser.add_argument("--size", type=int, default=64, help="pixels of a side")
parser.add_argument("--epochs", type=int, default=5)
flags = parser.parse_args()

# Data: scaled as the network takes it.
size, scale = flags.size, applications.APPLICATIONS.get(flags.network)
photos = data.load({"name": f"folder:{flags.photos}", "image_size": size,
                    "mean": scale.mean, "std": scale.std})

# A trained body and a new head.
net = applications.with_new_head(
    flags.network, photos.classes, flags.weights or None,
    input_shape=photos.image_shape,
)

# Fine-tune.
net.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
for epoch in range(flags.epochs):
    batches = photos.train.batches(32, seed=0, epoch=epoch, augment="flip")
    net.fit(batches, shuffle=False, verbose=2)  # they are shuffled
print("float accuracy:", export.accuracy(net, photos))

# Export: calibrated on the photos, with their labels and scale in the file.
path = pathlib.Path("classifier_int8.tflite")
blob = export.to_tflite(net, "int8", photos)
path.write_bytes(blob)
print("int8 accuracy:", export.accuracy(blob, photos))
print(f"next: tfnas-evaluate --data=folder:{flags.photos} --model={path}")

# Classify.
pixels = keras.utils.load_img(flags.picture, target_size=(size, size),
                              interpolation="bilinear", keep_aspect_ratio=True)
image = applications.preprocess_input(np.array(pixels)[None], flags.network)
answer = export.TFLiteClassifier(blob).predict(image)
print(applications.decode_predictions(answer, 3, photos.class_names)[0])
