"""From a planned run to a trained model: steps, devices, checkpoints, and where a run ends."""
