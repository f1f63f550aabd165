"""The base of all config sections: frozen, and strict about keys."""

import datetime as dt
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Section(BaseModel):
    """A part of the config file. Unknown keys are errors; values cannot be changed after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, str_strip_whitespace=True)


class OneOf(Section):
    """A mapping with exactly one of its keys, such as `talib: {…}`: what to do, then how."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "OneOf":
        chosen = [name for name in type(self).model_fields if getattr(self, name) is not None]
        if len(chosen) != 1:
            found = " and ".join(chosen) or "nothing"
            raise ValueError(f"give exactly one of {', '.join(type(self).model_fields)}; found {found}")
        return self

    @property
    def kind(self) -> str:
        """The key that was given."""
        return next(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def spec(self) -> Section:
        """What stands under that key."""
        spec: Section = getattr(self, self.kind)
        return spec


def utc_ms(date: str) -> int:
    """Milliseconds since the epoch of an ISO date or time; without an offset it is UTC."""
    moment = dt.datetime.fromisoformat(date)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return round(moment.timestamp() * 1000)


def _check_date(value: str) -> str:
    try:
        utc_ms(value)
    except ValueError:
        raise ValueError(f"'{value}' is not a date; write '2024-01-31' or '2024-01-31T12:00'") from None
    return value


# Dates stay text: DVC cannot track a YAML date.
Date = Annotated[str, AfterValidator(_check_date)]
Fraction = Annotated[float, Field(ge=0, le=1)]
