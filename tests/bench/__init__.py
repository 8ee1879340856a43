"""Benchmarks: fnbox and AWS's own emulator, side by side. See README.md."""
