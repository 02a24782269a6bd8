"""Videos on the command line: the task, finished segments of frames, and the run that makes them."""
