"""The commands of the command line, one module for each; `register(app)` adds one to the Typer app."""
