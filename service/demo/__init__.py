"""The demo: the whole loop on Toyworld, and the report that shows what came out."""
