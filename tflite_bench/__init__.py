"""Times `.tflite` models, and the operators of search spaces, on devices."""
