"""Times `.tflite` models on phones and boards that are reached over adb."""
