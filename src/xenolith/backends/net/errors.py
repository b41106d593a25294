"""The error of a frontend that breaks its rings."""

from __future__ import annotations


class ProtocolError(Exception):
    """A frontend has put into its ring what no frontend would; the interface is disabled."""
