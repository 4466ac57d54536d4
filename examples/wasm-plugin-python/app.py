"""A plugin in Python: order numbers stay in the house. The model is asked, and the client reads, about "an order" instead."""

import json
import re
from typing import Optional

import wit_world
from componentize_py_types import Err
from wit_world.imports.types import (
    Change, Change_Replace, Change_Text, Decision, Event, Event_Request, Event_Text, Exchange, Hooks, Needs, Replacement,
    Verdict_Change,
)

pattern = re.compile("")
instead = ""


class WitWorld(wit_world.WitWorld):
    """One instance serves one request: what it keeps is of that request alone."""

    def start(self, settings: str, exchange: Optional[Exchange]) -> Needs:
        global pattern, instead
        try:
            said = json.loads(settings)
            pattern, instead = re.compile(said["pattern"]), said["instead"]
        except (KeyError, re.error) as error:
            raise Err(f"`pattern` and `instead` are wanted: {error!r}")
        return Needs(Hooks.REQUEST_TEXTS | Hooks.TEXT, hold=64, window=0)

    def handle(self, event: Event) -> Decision:
        changes: list[Change] = []
        tags = []
        if isinstance(event, Event_Request):
            for number, text in enumerate(event.value.texts):
                masked, found = pattern.subn(instead, text.text)
                if found:
                    changes.append(Change_Text((number, masked)))
                    tags = [("orders", "masked")]
        elif isinstance(event, Event_Text):
            text = event.value.text
            for match in pattern.finditer(text):
                start, end = (len(text[:at].encode()) for at in match.span())
                changes.append(Change_Replace(Replacement(start, end, instead)))
        return Decision(Verdict_Change(changes), tags)
