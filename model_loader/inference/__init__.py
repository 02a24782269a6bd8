"""The one way of images through a model: sources feed the network in batches, and stages finish what it predicts.

A source (single images, tiles, views of one scene, video frames) yields estimates at the network's size. The network resizes, runs and
applies the camera; `stages` derives, refines and resamples.
"""
