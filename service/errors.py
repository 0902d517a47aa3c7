"""What can be wrong with a request; `service.problems` gives each its HTTP status."""


class ServiceError(Exception):
    """The service cannot do what was asked; the text says why and what to do."""


class NotJson(ServiceError):
    """The body is not JSON: malformed, not UTF-8, or a number that JSON does not know."""


class RequestNotValid(ServiceError):
    """The body is JSON but breaks the contract; the text says where."""


class PinRefused(RequestNotValid):
    """A pin is unknown, unavailable, or clashes with another."""


class BodyTooLarge(ServiceError):
    """The body is larger than the route allows."""


class BodyNotSupported(ServiceError):
    """The body is of a media type or encoding that the route does not read."""


class KeyNotGiven(ServiceError):
    """No known API key was sent."""


class ScopeNotGiven(ServiceError):
    """The API key is known but may not do this."""


class KeyOverRate(ServiceError):
    """The API key has called more often than its rate allows.

    Attributes:
        headers: when to come back, and what the rate is
            (https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/).
    """

    def __init__(self, cap: int, *, seconds: int, ends_in: int) -> None:
        super().__init__(f"this key may call {cap} times in {seconds} s")
        self.headers = {
            "retry-after": str(ends_in),
            "ratelimit-policy": f'"key";q={cap};w={seconds}',
            "ratelimit": f'"key";r=0;t={ends_in}',
        }


class ProductNotKnown(ServiceError):
    """No product has this id."""


class TryLater(ServiceError):
    """The log cannot take events now; nothing is known to be durable, send them again."""


class NotReady(ServiceError):
    """No weights are loaded and warm yet."""


class TokenForged(ServiceError):
    """The attribution token was not issued by this service for this banner."""


class TokenExpired(ServiceError):
    """The attribution token is genuine but its attribution window is over."""


class ShopperLeft(ServiceError):
    """The connection was closed before the answer: nobody would see it."""


class CatalogueBehind(ServiceError):
    """A snapshot knows products that this process has not read yet; the next look will do."""
