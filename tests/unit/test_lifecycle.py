from __future__ import annotations

import itertools

import pytest

from sandbox.environments.lifecycle import TRANSITIONS, Event, IllegalTransition, State, after


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_of_state_and_event_leads_where_the_table_says_or_raises(
    state: State, event: Event
) -> None:
    if (state, event) in TRANSITIONS:
        assert after(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(IllegalTransition, match=f"{event.name} while {state.name}"):
            after(state, event)


def test_every_living_state_can_be_stopped_and_a_stopped_one_never_comes_back() -> None:
    living = set(State) - {State.STOPPING, State.STOPPED}
    assert all(after(state, Event.STOP) is State.STOPPING for state in living)
    assert not any(state is State.STOPPED for state, _ in TRANSITIONS)
    assert {event for state, event in TRANSITIONS if state is State.STOPPING} == {Event.REMOVED}


def test_only_a_leased_environment_is_busy() -> None:
    into = {pair for pair, target in TRANSITIONS.items() if target is State.BUSY}
    assert into == {(State.IDLE, Event.LEASED), (State.RESET, Event.LEASED)}
