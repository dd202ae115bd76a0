"""The version, which files of arrays carry."""

__version__ = "0.1.0"
