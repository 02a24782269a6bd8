"""Panoramas of the whole sphere, merged from perspective views."""
