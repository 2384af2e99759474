from typing import Any

Group = Any
Dataset = Any

def __getattr__(name: str) -> Any: ...
