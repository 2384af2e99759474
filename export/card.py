"""The model's card: what is in a version, for people and programs, as `assets.extra/model_card.json`."""

from __future__ import annotations

import dataclasses
import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Final

import tensorflow as tf

from styleserve import __version__, contract
from styleserve.model import ModelSettings, Weights

CARD_NAME: Final = "assets.extra/model_card.json"


def write_card(version_dir: Path, weights: Weights, settings: ModelSettings) -> None:
    """Writes the card of a version.

    Args:
        version_dir: directory of the version; its `assets.extra` exists.
        weights: what the network was built from.
        settings: what the model was built with.
    """
    card = {
        "contract_version": contract.CONTRACT_VERSION,
        "created": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "versions": {"styleserve": __version__, "tensorflow": tf.__version__},
        "weights": {"source": weights.source, "sha256": weights.sha256, "licence": weights.licence},
        "network": "VGG-19",
        **dataclasses.asdict(settings),
        "limits": settings.limits.numbers(),
        "defaults": {
            control.name: control.default_within(settings.loss_scale, settings.limits) for control in contract.CONTROLS
        },
    }
    (version_dir / CARD_NAME).write_text(json.dumps(card, indent=2) + "\n")
