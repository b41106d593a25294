"""The error of this package."""

from __future__ import annotations


class ImageError(Exception):
    """An image is unsound, in use, or not what it was said to be; the message names the file."""
