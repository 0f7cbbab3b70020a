"""Writes TFRecord files of images, field by field."""

import tensorflow as tf


def write(path, files, labels):
    """Writes image files (bytes) and their labels as records.

    An empty image would be no image at all, so there has to be a byte.
    """
    with tf.io.TFRecordWriter(str(path)) as writer:
        for file, label in zip(files, labels, strict=True):
            feature = {
                "image/encoded": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[file])
                ),
                "image/class/label": tf.train.Feature(
                    int64_list=tf.train.Int64List(value=[label])
                ),
            }
            features = tf.train.Features(feature=feature)
            example = tf.train.Example(features=features)
            writer.write(example.SerializeToString())
