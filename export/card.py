"""The model card: facts about a version as JSON, for people and programs."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timezone
from pathlib import Path

import tensorflow as tf

from styleserve import __version__, contract
from styleserve.model import ModelSettings, Weights
from styleserve.version_directories import MODEL_CARD_FILE


def write_card(version_dir: Path, weights: Weights, settings: ModelSettings, *, memory: int, fingerprint: str) -> None:
    """Writes the card of a version.

    Args:
        version_dir: Directory of the version; its `assets.extra` exists.
        weights: Weights of the model.
        settings: Settings of the model.
        memory: Memory of a call for its tensors, in bytes.
        fingerprint: Fingerprint of the model.
    """
    card = {
        "contract_version": contract.CONTRACT_VERSION,
        "fingerprint": fingerprint,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"styleserve": __version__, "tensorflow": tf.__version__},
        "weights": {"source": weights.source, "sha256": weights.sha256, "licence": weights.licence},
        "network": "VGG-19",
        **dataclasses.asdict(settings),
        "memory": memory,
        "limits": settings.limits.numbers(),
        "defaults": {
            control.name: control.default_within(settings.loss_scale, settings.limits) for control in contract.CONTROLS
        },
    }
    (version_dir / MODEL_CARD_FILE).write_text(json.dumps(card, indent=2) + "\n")
