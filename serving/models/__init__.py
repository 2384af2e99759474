"""Models in memory: which versions are served, loading, unloading, and running one."""
