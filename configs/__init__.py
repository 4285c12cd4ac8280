"""Presets: YAML files that hold only differences from the defaults."""
