"""The parameters of requests, checked: ValueError or KeyError for what makes no sense."""

from __future__ import annotations

from xenolith.toolstack.rpc_loop import Request


def number(request: Request, name: str) -> int:
    """A parameter that must be a whole number."""
    value = request.params[name]
    if type(value) is not int:
        raise ValueError(name)
    return value


def number_or_none(request: Request, name: str) -> int | None:
    """A parameter that must be a whole number or absent."""
    return None if request.params[name] is None else number(request, name)


def text(request: Request, name: str) -> str:
    """A parameter that must be a string, as C has them."""
    value = request.params[name]
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(name)
    return value


def content(request: Request, name: str) -> str:
    """A parameter that must be a string, whatever is in it: of a file, not of a name."""
    value = request.params[name]
    if not isinstance(value, str):
        raise ValueError(name)
    return value


def text_or_none(request: Request, name: str) -> str | None:
    """A parameter that must be a string or absent."""
    return None if request.params[name] is None else text(request, name)


def texts(request: Request, name: str) -> tuple[str, ...]:
    """A parameter that must be a list of strings."""
    values = request.params[name]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(name)
    return tuple(values)


def flag(request: Request, name: str) -> bool:
    """A parameter that must be true or false."""
    value = request.params[name]
    if not isinstance(value, bool):
        raise ValueError(name)
    return value
