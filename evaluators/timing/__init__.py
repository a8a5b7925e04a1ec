"""Timing discipline: alternating blocks, intervals of a ratio, and (cuda.py) a gate that hides inputs until the clock runs."""
