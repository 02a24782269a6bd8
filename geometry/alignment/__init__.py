"""Maps of one view aligned to each other, joined, and compared."""
