"""Runs images through a model.

stages                  `InferenceOptions`; images, or views of one scene, through the network; then derive, refine and resample
tiles, panorama, video  large images in tiles, panoramas and video frames: more sources of estimates
network                 `LoadedNetwork`: shared weights; device placement, batching, float32 fallback
recent                  caches the estimates of recent runs for ComfyUI's nodes
memory_budget           batch sizes, and what happens to a batch that does not fit
model                   `Model`, which combines them
"""
