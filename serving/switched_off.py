"""What goes on running of a deployment when its files change, and the commands that end it.

Neither Compose nor `kubectl apply` ends what is no longer in the files: a service whose profile is switched off counts
as one that somebody may have started by hand, and of an object that was taken out nobody is told.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from pathlib import Path

from .deployment import Deployment, Target


def commands_before(before: Deployment, after: Deployment, folder: Path) -> Iterator[str]:
    """Commands for a shell, to be run before the new files are put to work."""
    if after.target is Target.compose:
        yield from _compose(before, after, folder)
    elif after.target is Target.kubernetes and before.namespace == after.namespace:
        yield from _kubernetes(before, after)


def _compose(before: Deployment, after: Deployment, folder: Path) -> Iterator[str]:
    profiles: dict[str, list[str]] = {}
    if before.device is not after.device:  # the new one needs the port
        profiles[before.device.value] = [before.device.value]
    if before.monitoring and not after.monitoring:
        profiles["monitoring"] = ["prometheus", "grafana"]
    if before.envoy and not after.envoy:
        profiles["envoy"] = ["envoy"]
    if profiles:
        # Not `down`, which leaves alone what is in no active profile; and .env has the new ones.
        active = [word for profile in profiles for word in ("--profile", profile)]
        services = [service for each in profiles.values() for service in each]
        yield shlex.join(
            ["docker", "compose", "-f", str(folder / "compose.yaml"), *active, "rm", "--stop", "--force", *services]
        )


def _kubernetes(before: Deployment, after: Deployment) -> Iterator[str]:
    kubectl = f"kubectl -n {after.namespace}"
    if before.envoy and not after.envoy:
        objects = " ".join(f"{kind}/styleserve-envoy" for kind in ("service", "deployment", "configmap"))
        yield f"{kubectl} delete --ignore-not-found {objects}"
    if before.max_replicas is not None and after.max_replicas is None:
        yield f"{kubectl} delete --ignore-not-found scaledobject/styleserve"
    if before.max_replicas is None and after.max_replicas is not None:
        # Else `kubectl apply` takes the number that is no longer in the files for one to be taken away, and the
        # Deployment goes to 1, the default, until KEDA adds servers again.
        yield (
            f"{kubectl} apply view-last-applied deployment/styleserve -o yaml | sed '/^  replicas:/d' | "
            f"{kubectl} apply set-last-applied -f -"
        )
