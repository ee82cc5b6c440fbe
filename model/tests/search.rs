//! Small searches to their end: all holds, and what should happen does.

use plimsoll_model::property::Milestone;
use plimsoll_model::search::{Found, search};
use plimsoll_model::settings::{Disk, Executor, Settings};

/// All holds in everything within the bounds, and these things happen.
fn assert_sound(found: &Found, milestones: &[Milestone]) {
    assert!(found.broken.is_empty() && found.is_exhaustive, "{found}");
    for milestone in milestones {
        let is_reached = found.reached.iter().any(|(reached, _)| reached == milestone);
        assert!(is_reached, "{} does not happen:\n{found}", milestone.name());
    }
}

#[test]
fn two_nodes_with_a_crash_are_searched_to_the_end() {
    let found = search(&Settings {
        nodes: 2,
        crashes: 1,
        silences: 0,
        frames: 1,
        depth: 60,
        ..Settings::default()
    });
    let milestones = [Milestone::Answered, Milestone::EpochChanged, Milestone::RestartedVotes];
    assert_sound(&found, &milestones);
    assert!(found.is_whole, "no bound on the depth was needed:\n{found}");
}

#[test]
fn a_strict_read_over_a_crash_of_the_other_node_is_searched_to_the_end() {
    let found = search(&Settings {
        nodes: 2,
        transactions: 0,
        reads: 1,
        crashes: 1,
        silences: 0,
        disk: Disk::Instant,
        depth: 60,
        ..Settings::default()
    });
    assert_sound(&found, &[Milestone::ReadAnswered, Milestone::ReadAgain]);
    assert!(found.is_whole, "no bound on the depth was needed:\n{found}");
}

#[test]
fn three_nodes_end_an_epoch_after_a_silence() {
    let found = search(&Settings {
        disk: Disk::Instant,
        frames: 1,
        depth: 7,
        ..Settings::default()
    });
    assert_sound(&found, &[Milestone::Answered, Milestone::EpochChanged]);
}

#[test]
fn frames_twice_and_slow_executors_change_nothing() {
    let found = search(&Settings {
        nodes: 2,
        duplicates: 1,
        silences: 0,
        executor: Executor::Slow,
        depth: 60,
        ..Settings::default()
    });
    assert_sound(&found, &[Milestone::Answered]);
    assert!(found.is_whole, "no bound on the depth was needed:\n{found}");
}

#[test]
fn a_search_gives_the_same_figures_each_time() {
    let settings = Settings {
        depth: 4,
        ..Settings::default()
    };
    let (first, second) = (search(&settings), search(&settings));
    assert_eq!((first.unique, first.total), (second.unique, second.total));
    assert!(!first.is_whole, "a small depth cuts something off");
}
