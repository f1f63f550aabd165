"""What the exchange answers when it refuses: its codes and its words.

Source: https://developers.binance.com/docs/binance-spot-api-docs/errors
"""

from typing import Any

NUMBER = "^([0-9]{1,20})(\\.[0-9]{1,20})?$"
CLIENT_ID = "^[a-zA-Z0-9-_]{1,36}$"


class ApiError(Exception):
    """A refusal. code: the exchange's; status: of HTTP; data: more to tell, as after a half-done cancelReplace."""

    def __init__(self, code: int, message: str, status: int = 400, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.data = data

    def body(self) -> dict[str, Any]:
        """The JSON answer."""
        body: dict[str, Any] = {"code": self.code, "msg": self.message}
        return body | {"data": self.data} if self.data is not None else body


def missing(name: str) -> ApiError:
    """A mandatory parameter that was not sent, is empty or cannot be read."""
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def either(name: str, other: str) -> ApiError:
    """Two parameters of which one is mandatory, and neither was sent."""
    return ApiError(-1102, f"Param '{name}' or '{other}' must be sent, but both were empty/null!")


def illegal(name: str, legal: str = NUMBER) -> ApiError:
    """A parameter with characters that it may not have."""
    return ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def empty(name: str) -> ApiError:
    """An optional parameter that is empty."""
    return ApiError(-1105, f"Parameter '{name}' was empty.")


def invalid(name: str) -> ApiError:
    """A parameter whose value is not one of those allowed."""
    return ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")


def too_precise(name: str) -> ApiError:
    """A number with more decimals than its asset has."""
    return ApiError(-1111, f"Parameter '{name}' has too much precision.")


def not_required(name: str) -> ApiError:
    """A parameter that this kind of order does not take."""
    return ApiError(-1106, f"Parameter '{name}' sent when not required.")


def rejected(message: str) -> ApiError:
    """An order that the matching engine refuses."""
    return ApiError(-2010, message)


UNKNOWN_SYMBOL = (-1121, "Invalid symbol.")
UNKNOWN_ORDER = (-2011, "Unknown order sent.")
NO_SUCH_ORDER = (-2013, "Order does not exist.")
BAD_COMBINATION = "Combination of optional parameters invalid."
NO_BALANCE = "Account has insufficient balance for requested action."
