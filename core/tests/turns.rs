//! Turns: step by step, and in every order that a small world allows.

use headwater_core::turns::{NAMED_WRITERS, Turns};
use stateright::{Checker, Model, Property};

fn line(turns: &Turns<u8>) -> Vec<u8> {
    turns.next().collect()
}

#[test]
fn the_writer_that_was_refused_longest_ago_is_next() {
    let mut turns = Turns::default();
    for writer in [3, 1, 2, 1, 3] {
        turns.want(writer, 0);
    }
    assert_eq!(line(&turns), [3, 1, 2]);
    turns.land(Some(3), 10);
    assert_eq!(line(&turns), [1, 2]);
    // A writer that has more goes to the end.
    turns.want(3, 0);
    assert_eq!(line(&turns), [1, 2, 3]);
}

#[test]
fn a_writer_that_is_overtaken_keeps_its_place() {
    let mut turns = Turns::default();
    turns.want(1, 1_000);
    turns.want(2, 1_000);
    turns.land(Some(2), 1_001);
    assert_eq!(line(&turns), [1]);
    turns.land(None, 1_002);
    assert_eq!(line(&turns), [1]);
}

#[test]
fn a_writer_that_misses_its_turn_loses_its_place() {
    let mut turns = Turns::default();
    for writer in [1, 2, 3] {
        turns.want(writer, 1_000);
    }
    turns.land(Some(2), 1_000 + turns.patience_ms());
    assert_eq!(line(&turns), [3]);
}

/// Sockets that died without a word stand in line until their connections end.
#[test]
fn writers_that_vanished_together_cost_one_wait_each_and_only_once() {
    let mut turns = Turns::default();
    for writer in 1..=6 {
        turns.want(writer, 1_000);
    }
    turns.land(Some(5), 1_000 + 4 * turns.patience_ms());
    assert_eq!(line(&turns), [6]);
}

#[test]
fn a_writer_that_leaves_is_not_waited_for() {
    let mut turns = Turns::default();
    for writer in [1, 2] {
        turns.want(writer, 0);
    }
    turns.leave(1);
    assert_eq!(line(&turns), [2]);
}

#[test]
fn the_patience_follows_the_writers_within_its_bounds() {
    let mut turns = Turns::default();
    let mut now = 0;
    let mut answer = |turns: &mut Turns<u8>, ms: u64| {
        turns.want(1, now);
        now += ms;
        turns.land(Some(1), now);
    };
    for _ in 0..20 {
        answer(&mut turns, 1);
    }
    assert_eq!(turns.patience_ms(), 20);
    for _ in 0..20 {
        answer(&mut turns, 100);
    }
    assert!((300..=400).contains(&turns.patience_ms()), "{}", turns.patience_ms());
    for _ in 0..20 {
        answer(&mut turns, 60_000);
    }
    assert_eq!(turns.patience_ms(), 1_000);
}

#[test]
fn the_news_names_no_more_than_some_writers() {
    let mut turns = Turns::default();
    for writer in 0..100 {
        turns.want(writer, 0);
    }
    assert_eq!(line(&turns), (0..NAMED_WRITERS as u8).collect::<Vec<_>>());
}

/// Writers that all have batches, push when they may, and know only what the news told them. The writer at the front pushes
/// in its turn. Any other writer may push as well, because it has not heard the news, or loses its patience.
#[derive(Clone)]
struct Contention {
    writers: u8,
    batches: u8,
    /// Pushes out of turn.
    intruders: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct State {
    turns: Turns<u8>,
    /// The batches that each writer still has.
    left: Vec<u8>,
    /// The acceptances since each writer stands in line; `None` if it does not.
    waited: Vec<Option<u8>>,
    intruders: u8,
    /// The longest that anybody who answers its turns has waited, in acceptances.
    longest: u8,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    /// A writer stands in line, because it was refused or holds a batch back.
    Want(u8),
    /// The writer at the front pushes.
    Push,
    /// Another writer pushes.
    Intrude(u8),
}

impl State {
    fn landed(&mut self, writer: u8) {
        // Time stands still: nobody misses a turn.
        self.turns.land(Some(writer), 0);
        self.left[usize::from(writer)] -= 1;
        self.waited[usize::from(writer)] = None;
        for waited in self.waited.iter_mut().flatten() {
            *waited += 1;
            self.longest = self.longest.max(*waited);
        }
    }
}

impl Model for Contention {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let writers = usize::from(self.writers);
        vec![State {
            turns: Turns::default(),
            left: vec![self.batches; writers],
            waited: vec![None; writers],
            intruders: self.intruders,
            longest: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        let front = state.turns.next().next();
        for writer in 0..self.writers {
            if state.left[usize::from(writer)] == 0 {
                continue;
            }
            if state.waited[usize::from(writer)].is_none() {
                actions.push(Action::Want(writer));
            }
            if front == Some(writer) {
                actions.push(Action::Push);
            } else if front.is_none() || state.intruders > 0 {
                actions.push(Action::Intrude(writer));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Want(writer) => {
                state.turns.want(writer, 0);
                state.waited[usize::from(writer)] = Some(0);
            }
            Action::Push => {
                let writer = state.turns.next().next()?;
                state.landed(writer);
            }
            Action::Intrude(writer) => {
                if state.turns.next().next().is_some() {
                    state.intruders -= 1;
                }
                state.landed(writer);
            }
        }
        Some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "a writer in line lands within as many acceptances as there are writers",
                |world: &Contention, state: &State| {
                    state.longest <= world.writers + (world.intruders - state.intruders)
                },
            ),
            Property::eventually("every batch lands", |_, state: &State| {
                state.left.iter().all(|left| *left == 0)
            }),
        ]
    }
}

#[test]
fn nobody_starves_in_any_order() {
    for (writers, batches, intruders) in [(3, 3, 0), (4, 2, 0), (3, 2, 2)] {
        let world = Contention { writers, batches, intruders };
        let checker = world.checker().threads(2).spawn_dfs().join();
        println!("{writers} writers: {} states", checker.unique_state_count());
        assert_eq!(checker.discoveries().into_keys().collect::<Vec<_>>(), [""; 0]);
    }
}
