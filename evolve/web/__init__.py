"""The web UI: one process, files out of the wheel, nothing from a network (docs/ui.md)."""
