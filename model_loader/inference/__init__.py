"""The one path of images through a model.

forward                 images, or views of one scene, through the network; resizing and the camera are the family's
tiles, video            large images in tiles, and frames of a video: further sources of estimates at the network's size
stages                  derive, refine, resample: from an estimate at the network's size to one at the images' size
options                 what a caller asks of them
network                 `LoadedNetwork`: the weights, loaded once and shared; to the device, in batches, in float32 where half overflows
recent                  the estimates of the last runs, which ComfyUI's nodes use again for another look
memory_budget           how many images go into one batch, and what becomes of a batch that does not fit
model                   `Model`, which puts them together
"""
