"""The one gradient loop, with optimizers, schedules and checkpoints."""
