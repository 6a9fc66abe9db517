"""The diffusion models that Pairsieve trains, one module per architecture."""

import logging


def _without_kernels(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Failed to load CPU gemm_4bit_forward from kernels-community")


# diffusers and peft import bitsandbytes wherever it is installed, which then complains about kernels for 4-bit weights
# that nobody asked for. Before either is imported: all that is ours and imports them lies below, or imports this.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(_without_kernels)
