"""The way of weights from a run into a running node: the store of deployed models and the test that each must pass."""
