"""Files of data in, records out."""
