"""What a step minimises: each method's options, and how it stands on the losses."""
