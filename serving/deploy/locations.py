"""Locations in a cluster: volumes and object stores, as patterns of options and the same in words.

No pattern allows a character that YAML or a shell reads.
"""

from __future__ import annotations

import re
from typing import Final

DNS_LABEL: Final = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
"""Name of most objects of Kubernetes."""

CLAIM: Final = rf"pvc://(?!.*\.\.)(?P<claim>{DNS_LABEL})(/+(?P<path>[A-Za-z0-9_./-]*?)/*)?"
CLAIM_RULE: Final = "pvc://CLAIM/PATH, where PATH has letters, digits, '_', '-', '.' and '/', and no '..'"
"""Directory or file on the volume of a PersistentVolumeClaim."""

_URL: Final = r"://[A-Za-z0-9][A-Za-z0-9_.:/@%+=-]*"
_STORE: Final = "(s3|gs|gcs|abfs|az)"

DOWNLOAD: Final = f"(gs|s3|hf|hdfs|https?){_URL}"
"""Address that KServe downloads."""

JOBS: Final = rf"(?=.*\.(parquet|csv|jsonl|ndjson)\Z)({CLAIM}|({_STORE}|https?){_URL})"
JOBS_RULE: Final = (
    "a plain URL (s3://, gs://, abfs://, https://) or pvc://CLAIM/PATH that ends in .parquet, .csv, .jsonl or .ndjson"
)
"""List of jobs that `styleserve bulk` reads."""

RESULTS: Final = f"{CLAIM}|{_STORE}{_URL}"
RESULTS_RULE: Final = "a plain URL of an object store (s3://, gs://, abfs://) or pvc://CLAIM/PATH"
"""Folder that `styleserve bulk` writes."""


def claim_of(location: str | None) -> tuple[str, str] | None:
    """Claim and path of a location on a volume; None for other locations.

    >>> claim_of("pvc://pictures/lists/today.csv"), claim_of("s3://pictures/today.csv")
    (('pictures', 'lists/today.csv'), None)
    """
    found = re.fullmatch(CLAIM, location or "")
    return (found["claim"], found["path"] or "") if found else None
