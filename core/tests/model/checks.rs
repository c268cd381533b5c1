//! The worlds, and the properties that the checker must find broken or unbroken.

use std::time::Instant;

use stateright::{Checker, Model};

use super::world::{Administration, Faults, Mutation, World};

/// No faults. A world adds those that it names.
const NONE: Faults =
    Faults { losses: 0, delays: 0, crashes: 0, leaves: 0, amnesias: 0, strangers: 0, wipes: 0 };

/// Whether to check larger worlds, as `npm run model` does.
fn large() -> bool {
    std::env::var_os("HEADWATER_MODEL").is_some_and(|size| size == "large")
}

fn world(sequencers: usize, clients: &[u8], faults: Faults) -> World {
    World {
        sequencers,
        clients: clients.to_vec(),
        faults,
        mutation: Mutation::None,
        clock_stands: false,
        administers: None,
        built_in: false,
    }
}

/// Explores the whole world, and returns the names of the properties that some path breaks.
fn broken(name: &str, world: World) -> Vec<&'static str> {
    let started = Instant::now();
    let checker = world.checker().threads(2).spawn_dfs().join();
    println!(
        "{name}: {} states ({} unique), depth {}, {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f32()
    );
    let mut broken: Vec<&str> = checker.discoveries().into_keys().collect();
    broken.sort_unstable();
    broken
}

#[track_caller]
fn holds(name: &str, world: World) {
    assert_eq!(broken(name, world), [""; 0], "{name}");
}

#[test]
fn a_zombie_and_its_successor_keep_every_property_under_faults() {
    let some = Faults { losses: 1, delays: 1, crashes: 1, leaves: 0, ..NONE };
    let two_losses = Faults { losses: 2, leaves: 1, ..some };
    holds("two Sequencers, three clients", world(2, &[1, 1, 1], some));
    holds("two Sequencers, two clients, more faults", world(2, &[1, 1], two_losses));
    if large() {
        holds("two Sequencers, two clients with two events", world(2, &[2, 2], some));
        holds("two Sequencers, three clients, four events", world(2, &[2, 1, 1], some));
        holds("three Sequencers, two clients", world(3, &[1, 1], some));
    }
}

#[test]
fn clients_that_leave_break_no_property() {
    holds("clients leave", world(1, &[2, 1], Faults { losses: 1, leaves: 2, ..NONE }));
}

/// A foreign answer, or an upstream that has lost its disk, costs no acknowledged event.
#[test]
fn foreign_answers_and_a_lost_log_break_no_property() {
    holds("strangers", world(1, &[2, 1], Faults { strangers: 2, losses: 1, crashes: 1, ..NONE }));
    holds(
        "strangers and a zombie",
        world(2, &[1, 1], Faults { strangers: 1, losses: 1, delays: 1, crashes: 1, ..NONE }),
    );
    holds("a lost log", world(2, &[1, 1], Faults { wipes: 1, strangers: 1, crashes: 1, ..NONE }));
    if large() {
        holds(
            "strangers and a lost log",
            world(2, &[2, 1], Faults { strangers: 1, losses: 1, wipes: 1, crashes: 1, ..NONE }),
        );
    }
}

#[test]
fn an_archive_a_reset_and_a_deletion_break_no_property_and_succeed() {
    let holds = |faults, administers, world: World| {
        let name = format!("{administers:?} with {faults}");
        holds(&name, World { administers: Some(administers), ..world });
    };
    for administers in [Administration::Archive, Administration::Reset, Administration::Delete] {
        let faults = Faults { losses: 2, crashes: 1, ..NONE };
        holds("losses", administers, world(1, &[2, 1], faults));
        if large() {
            let faults = Faults { losses: 1, crashes: 1, leaves: 1, ..NONE };
            holds("three clients", administers, world(1, &[2, 1, 1], faults));
        }
    }
    // An append or a zombie that outlives a deletion may write to the new stream (docs/reliability.md).
    let losses = u8::from(large());
    let faults = Faults { losses, delays: 1, crashes: 1, ..NONE };
    holds("a zombie", Administration::Archive, world(2, &[1, 1], faults));
}

/// A crash of the runtime at any moment, and a write that fails, cost a built-in log no acknowledged event.
#[test]
fn crashes_break_no_property_of_a_built_in_log() {
    let built_in = |clients: &[u8], faults| World { built_in: true, ..world(1, clients, faults) };
    let faults = Faults { losses: 1, crashes: 2, leaves: 1, ..NONE };
    holds("built in", built_in(&[2, 1], faults));
    for administers in [Administration::Archive, Administration::Reset, Administration::Delete] {
        let world = World { administers: Some(administers), ..built_in(&[2, 1], faults) };
        holds("built in, with an administrator", world);
    }
    if large() {
        holds("built in, three clients", built_in(&[2, 1, 1], Faults { crashes: 3, ..faults }));
    }
}

#[test]
fn with_an_answer_before_the_commit_acknowledged_events_are_lost() {
    let world = World {
        mutation: Mutation::AnswerBeforeCommit,
        built_in: true,
        ..world(1, &[1], Faults { crashes: 1, ..NONE })
    };
    assert!(
        broken("answer before commit", world)
            .contains(&"an acknowledged event is in the log exactly once")
    );
}

#[test]
fn with_an_intent_that_is_not_stored_a_crash_halts_the_store() {
    for administers in [Administration::Reset, Administration::Delete] {
        let world = World {
            mutation: Mutation::IntentIsNotStored,
            administers: Some(administers),
            ..world(1, &[2], Faults { crashes: 1, ..NONE })
        };
        assert!(broken("intent is not stored", world).contains(&"no answer misleads"));
    }
}

/// The upstream forgets its last `Stream-Seq` while no append of a zombie is on its way.
#[test]
fn an_upstream_that_forgets_its_fence_breaks_no_property_with_one_sequencer() {
    holds("amnesia", world(1, &[2, 1, 1], Faults { losses: 2, crashes: 1, amnesias: 1, ..NONE }));
}

/// The known exception (docs/reliability.md, "What is not promised"): both at once.
#[test]
fn an_upstream_that_forgets_its_fence_and_a_zombie_together_break_the_chain() {
    assert!(
        !broken("amnesia and a zombie", world(2, &[1, 1], Faults { amnesias: 1, ..NONE }))
            .is_empty()
    );
    assert!(
        !broken(
            "amnesia and a late append",
            world(1, &[1, 1], Faults { amnesias: 1, delays: 1, ..NONE })
        )
        .is_empty()
    );
}

#[test]
fn without_the_fence_the_chain_breaks() {
    let world = World { mutation: Mutation::NoFence, ..world(2, &[1, 1], NONE) };
    assert!(broken("no fence", world).contains(&"the log is a chain"));
}

#[test]
fn with_blind_retries_events_are_doubled() {
    let faults = Faults { losses: 1, amnesias: 1, ..NONE };
    let world = World { mutation: Mutation::BlindRetry, ..world(1, &[1], faults) };
    assert!(broken("blind retry", world).contains(&"no event is in the log twice"));
}

#[test]
fn with_the_head_before_the_append_acknowledged_events_are_lost() {
    let world = World {
        mutation: Mutation::HeadBeforeAppend,
        ..world(1, &[1], Faults { crashes: 1, ..NONE })
    };
    assert!(
        broken("head before append", world)
            .contains(&"an acknowledged event is in the log exactly once")
    );
}

#[test]
fn with_a_duplicate_taken_for_landed_acknowledged_events_are_lost() {
    let one_clock =
        World { clock_stands: true, ..world(2, &[1, 1], Faults { crashes: 1, ..NONE }) };
    holds("duplicates", one_clock.clone());
    let world = World { mutation: Mutation::DuplicateIsLanded, ..one_clock };
    assert!(
        broken("duplicate is landed", world)
            .contains(&"an acknowledged event is in the log exactly once")
    );
}

#[test]
fn with_a_missing_stream_taken_for_a_reset_another_log_is_begun() {
    let faults = Faults { wipes: 1, crashes: 1, ..NONE };
    let world = World { mutation: Mutation::MissingIsReset, ..world(1, &[2], faults) };
    assert!(broken("missing is a reset", world).contains(&"no other log takes its place"));
}
