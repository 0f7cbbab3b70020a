"""What `adb devices` prints, in all its releases: which phones there are."""

from __future__ import annotations

import dataclasses
import re

READY = "device"
_RESTART = "start its system with `adb -s {serial} reboot`"
_ADVICE = {
    "unauthorized": "allow USB debugging in the dialog on the phone",
    "authorizing": "allow USB debugging in the dialog on the phone",
    "connecting": "wait a moment, or plug the phone in again",
    "offline": "plug the phone in again, or restart it",
    "no permissions": "give this user access to the USB device (udev rules)",
    "recovery": _RESTART,
    "sideload": _RESTART,
    "rescue": _RESTART,
    "bootloader": "start its system with `fastboot reboot`",
    "host": "it is a computer, and no phone",
    "detached": "take it back with `adb -s {serial} attach`",
}
# States that end by themselves.
PASSING = ("authorizing", "connecting")
_STATES = "|".join(
    [READY, "no device", "unknown", *(s for s in _ADVICE if " " not in s)]
)
# Columns of `adb devices -l`: `usb:1-1 product:x transport_id:3`.
_COLUMNS = r"(?:\s+[\w-]+:\S*)*"
_SPACED = re.compile(
    rf"(?P<serial>\S.*?)\s+(?P<state>no permissions\b.*|(?:{_STATES})"
    rf"(?={_COLUMNS}\s*$))"
)
_TAIL = re.compile(rf"(?<=\S){_COLUMNS}\s*$")
_TRANSPORT = re.compile(r"\btransport_id:([0-9]+)")
_HEADING = "List of devices attached"
# What a client says while it starts a server, or ends an older one.
_CHATTER = ("*", "adb server ", "adb: ", "adb.exe: ", "ADB server ")


@dataclasses.dataclass(frozen=True)
class Attached:
    """A phone that the adb server knows.

    Args:
        serial: Its serial number, `host:port`, or the name by which a
            wireless phone announces itself.
        state: `"device"` when it is ready.
        transport: What `adb -t` takes; `None` where the listing is a short
            one.
    """

    serial: str
    state: str
    transport: str | None = None

    @property
    def trouble(self) -> str:
        """Says what is wrong, and what to do."""
        advice = [text for name, text in _ADVICE.items() if name in self.state]
        words = advice[0].format(serial=self.serial) if advice else ""
        return f"{self.serial} is {self.state}" + (words and f": {words}")


def parse(text: str) -> list[Attached]:
    """Reads what `adb devices` or `adb devices -l` prints.

    Args:
        text: All of it; what a client says about its server may stand
            anywhere.

    Example:
        `parse("List of devices attached\\nR5CT\\tdevice\\n")` gives
        `[Attached("R5CT", "device")]`.
    """
    _, _, listing = text.partition(_HEADING)
    lines = [line.strip() for line in listing.splitlines()]
    phones = [
        _parse_line(line)
        for line in lines
        if line and not line.startswith(_CHATTER)
    ]
    return [phone for phone in phones if phone]


def _parse_line(line: str) -> Attached | None:
    # A tab ends the serial number, which may have spaces in it. Where there
    # is none, a state that we know does.
    serial, tab, state = line.partition("\t")
    if not tab:
        found = _SPACED.match(line)
        if not found:
            return None
        serial, state = found["serial"], found["state"]
    transport = _TRANSPORT.search(line[len(serial) :])
    state = _TAIL.sub("", state.strip())
    if not serial.strip() or not state:
        return None
    return Attached(
        serial.strip(), state, transport[1] if transport else None
    )
