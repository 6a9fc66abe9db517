"""From predictions to one number a sample."""

from torch import Tensor


def denoising_error(prediction: Tensor, target: Tensor) -> Tensor:
    """Mean squared error over channels and pixels, float32 of shape (N,), whatever the inputs' dtype.

    In half precision the difference of two such means, times β, would be noise.
    """
    return (prediction.float() - target.float()).square().flatten(1).mean(1)
