"""OPT: bodies fitted to 2D key points inside the training loop, and the best fit of every image kept."""
