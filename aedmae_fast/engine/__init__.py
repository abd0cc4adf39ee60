"""The streaming loop: decoded frames in, scores out, and a directory as a job."""
