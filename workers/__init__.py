"""Source to scores: the scorers, the engine that feeds them, and the Celery tasks that run it anywhere."""
