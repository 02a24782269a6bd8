"""Videos on the command line: what is asked, the frames in finished pieces, and the run that makes them."""
