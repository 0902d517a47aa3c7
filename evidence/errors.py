"""What can be wrong with the numbers that evidence is made of."""


class EvidenceError(ValueError):
    """The numbers do not describe an arm."""


class UnitsNotUsable(EvidenceError):
    """Units have shapes that differ, negative banners, or numbers that are not finite."""


class ConfidenceNotUsable(EvidenceError):
    """A confidence must lie strictly between 0 and 1."""
