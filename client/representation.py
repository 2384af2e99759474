"""Short `repr` of dataclasses: settings show what differs from the defaults, results never show their contents."""

from __future__ import annotations

from dataclasses import MISSING, Field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def changed_fields(instance: DataclassInstance) -> str:
    """The constructor call with those arguments alone that differ from their defaults; secrets are left out."""
    shown = [
        (each.name, getattr(instance, each.name)) for each in fields(instance) if each.repr and _changed(instance, each)
    ]
    return f"{type(instance).__name__}({', '.join(f'{name}={value!r}' for name, value in shown)})"


def _changed(instance: DataclassInstance, each: Field[Any]) -> bool:
    if each.default_factory is not MISSING:
        return getattr(instance, each.name) != each.default_factory()
    return each.default is MISSING or getattr(instance, each.name) != each.default
