"""Quicker exports, for tests of what does not depend on the check or on the model."""

from __future__ import annotations

import pytest

from styleserve import contract
from styleserve.export import exporter
from styleserve.model import ModelSettings, StyleTransfer, Weights


@pytest.fixture
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exports are not checked, which takes longer than all else."""
    monkeypatch.setattr(exporter, "validate", lambda *_: None)


@pytest.fixture
def one_signature(unchecked: None, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    """Exports have a single signature, and are not checked."""

    class Small(StyleTransfer):
        def __init__(self, weights: Weights, settings: ModelSettings) -> None:
            super().__init__(weights, settings)
            self.functions = {contract.LIMITS: self.functions[contract.LIMITS]}

    monkeypatch.setattr(exporter, "StyleTransfer", Small)
