"""Batches: a list of jobs, calls in parallel, and a manifest from which a stopped batch resumes."""
