"""How Toyworld's shipped models were trained: one module per model, run by `make_models`."""
