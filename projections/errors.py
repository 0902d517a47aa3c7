"""What can go wrong with a projection."""


class ProjectionError(RuntimeError):
    """A projection could not be made or read."""


class NoOrderYet(ProjectionError):
    """Lines were added to the latest order of a shopper who has none."""


class HistoryUnavailable(ProjectionError):
    """The history store cannot be reached or read now; the log still holds everything."""


class PositionsMoved(ProjectionError):
    """The store is not where the changes were made from: another wrote it, or it was emptied."""


class CatalogueNotReadable(ProjectionError):
    """The topic `products` does not hold the asked version of the catalogue."""
