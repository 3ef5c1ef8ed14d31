"""What the process tells of itself: log, audit, metrics, health."""
