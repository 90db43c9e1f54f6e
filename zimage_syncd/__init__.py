"""zimage-syncd keeps model caches of rented GPU instances whole over disk resets."""

__version__ = "0.1.0"
