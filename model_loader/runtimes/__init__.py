"""Runtimes that replace torch: engines exported and built for this machine, cached on disk, with torch as the fallback."""
