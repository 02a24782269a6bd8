"""The table of models, one file a family: architectures and published files as data. Nothing here needs torch."""
