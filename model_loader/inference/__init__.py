"""The one path of images through a model.

forward                 images, or views of one scene, to the device and through the network; resizing and the camera are the family's
tiles, video            large images in tiles, and frames of a video: further sources of estimates at the network's size
stages                  derive, refine, resample: from an estimate at the network's size to one at the images' size
options                 what a caller asks of them
network                 the weights, loaded once and shared, and their variations for one model
recent                  the estimates of the last runs, which ComfyUI's nodes use again for another look
memory_budget           how many images go into one batch, and what becomes of a batch that does not fit
model                   `Model`, which puts them together
"""
