"""The package's version, in one place (read by the build without importing torch)."""

__version__ = "0.4.0"
