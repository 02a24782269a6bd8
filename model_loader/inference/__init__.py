"""The one path of images through a model.

images, tiles, views, video   sources: each yields estimates at the network's size
forward                       images to the device and through the network, which resizes them and applies the camera
stages                        derive, refine, resample: from an estimate at the network's size to one at the images' size
options                       what a caller asks of them
weights, network              what is loaded and shared; the same as one model runs it
batches, memory_budget        how many images go into one batch, and what becomes of a batch that does not fit
model                         `Model`, which puts them together
"""
