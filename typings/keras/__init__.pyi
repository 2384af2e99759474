from typing import Any

Model = Any

def __getattr__(name: str) -> Any: ...
