"""Configurations, installed as `tfnas.configs`; `--config` finds them."""
