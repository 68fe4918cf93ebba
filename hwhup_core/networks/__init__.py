"""From a crop to a body: input packing, regressors, checkpoints."""
