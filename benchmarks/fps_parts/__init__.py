"""The parts of ``benchmarks/fps.py``: a file for each section of its report, and for what is compared in it."""
