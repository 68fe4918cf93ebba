"""Bodies in SMPL layout: files, model, joint names, mirroring. `anny.py` and its helpers are for developers only."""
