"""Runs images through a model.

forward                 images, or views of one scene, through the network; the family resizes and applies the camera
tiles, video            large images in tiles, and video frames: more sources of estimates at the network's size
stages                  derive, refine, resample: from an estimate at the network's size to one at image size
options                 the options of a run
network                 `LoadedNetwork`: shared weights; device placement, batching, float32 fallback
recent                  caches the estimates of recent runs for ComfyUI's nodes
memory_budget           batch sizes, and what happens to a batch that does not fit
model                   `Model`, which combines them
"""
