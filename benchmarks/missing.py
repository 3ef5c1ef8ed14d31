"""What cannot be measured on this machine."""


class NotMeasured(Exception):
    """A row, or a rival's part in it; the text says why."""
