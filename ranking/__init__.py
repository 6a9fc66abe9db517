"""The ground floor: what a preference pair is, where it lives, and which pairs are best. No torch, web
framework or Celery."""
