"""Sections of params.yaml: one module each, and `reading`, which checks types, choices and ranges."""
