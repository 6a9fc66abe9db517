"""What one watches while a model trains: numbers by step and timestep, and samples."""
