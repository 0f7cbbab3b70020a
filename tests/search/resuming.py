"""What a search leaves in the middle, and another that goes on from there."""

import json


def run_all(search, stop):
    """Runs a search to its end.

    Args:
        search: The search.
        stop: Unit before which it is looked at.

    Returns:
        The records of its units, and what a checkpoint holds at `stop`.
    """
    records, held = [], None
    for unit in range(search.units):
        if unit == stop:
            held = unit, json.loads(json.dumps(search.state())), {
                name: [v.numpy().copy() for v in group]
                for name, group in search.variables().items()
            }
        records.append(search.run_unit(unit))
    return records, held


def go_on(search, held):
    """Brings a new search to where another was, and runs it to its end."""
    stop, state, values = held
    search.restore(state)
    for name, group in search.variables().items():
        for variable, value in zip(group, values[name], strict=True):
            variable.assign(value)
    for unit in range(stop, search.units):
        search.run_unit(unit)
