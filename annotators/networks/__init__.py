"""The networks themselves, with the names that their parameters are published under. torch alone: no `Estimate`, no table of models."""
