"""2D labels of recorded frames: made automatically, imported, corrected by people, and which frame to label next."""
