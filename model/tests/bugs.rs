//! Every bug that can be planted is found, by a shortest way, and what the search reports without it is nothing.

use plimsoll::protocol::Bug;
use plimsoll_model::property::Invariant;
use plimsoll_model::scene::Scene;
use plimsoll_model::search::search;
use plimsoll_model::settings::{Disk, Settings};

/// What a search with the bug finds first, and after how many actions.
struct Expected {
    invariant: Invariant,
    depth: usize,
}

/// Searches with the bug, and just as deep without it.
fn find(bug: Bug, settings: Settings, expected: &Expected) {
    let depth = expected.depth as u16;
    let planted = Settings {
        bug: Some(bug),
        depth,
        ..settings.clone()
    };
    let found = search(&planted);
    println!("{bug}:\n{found}");
    let (_, trace) = found
        .broken
        .iter()
        .find(|(broken, _)| *broken == expected.invariant)
        .unwrap_or_else(|| panic!("{bug} does not break {}", expected.invariant.name()));
    assert_eq!(trace.len() - 1, expected.depth, "{bug} is found on a shortest way");

    let shallower = search(&Settings {
        depth: depth - 1,
        ..planted
    });
    assert!(
        shallower.broken.is_empty() && shallower.is_exhaustive,
        "nothing is nearer:\n{shallower}"
    );
    let sound = search(&Settings { depth, ..settings });
    assert!(
        sound.broken.is_empty() && sound.is_exhaustive,
        "without {bug} all holds:\n{sound}"
    );
}

#[test]
fn a_late_sync_that_raises_a_fenced_row_lets_a_watermark_pass_the_cut() {
    let settings = Settings {
        scene: Scene::Promised,
        transactions: 0,
        silences: 0,
        frames: 1,
        ..Settings::default()
    };
    let expected = Expected {
        invariant: Invariant::Cut,
        depth: 7,
    };
    find(Bug::LateSyncRaisesFencedRow, settings, &expected);
}

#[test]
fn a_cut_from_the_lowest_answer_loses_what_was_answered() {
    let settings = Settings {
        scene: Scene::Answered,
        disk: Disk::Instant,
        transactions: 0,
        frames: 1,
        ..Settings::default()
    };
    let expected = Expected {
        invariant: Invariant::Durability,
        depth: 4,
    };
    find(Bug::LowestCut, settings, &expected);
}

#[test]
fn an_epoch_that_starts_below_a_promise_is_out_of_order() {
    let settings = Settings {
        disk: Disk::Instant,
        frames: 1,
        ..Settings::default()
    };
    let expected = Expected {
        invariant: Invariant::Order,
        depth: 5,
    };
    find(Bug::StartBelowPromise, settings, &expected);
}

#[test]
fn a_strict_read_that_keeps_its_promise_over_an_epoch_is_stale() {
    let settings = Settings {
        scene: Scene::Parted,
        disk: Disk::Instant,
        reads: 1,
        silences: 0,
        ..Settings::default()
    };
    let expected = Expected {
        invariant: Invariant::StrictRead,
        depth: 6,
    };
    find(Bug::StrictReadCarriedOver, settings, &expected);
}

#[test]
fn a_restarted_node_that_continues_its_stream_leaves_a_hole_in_it() {
    let settings = Settings {
        nodes: 2,
        transactions: 2,
        crashes: 1,
        silences: 0,
        ..Settings::default()
    };
    let expected = Expected {
        invariant: Invariant::Prefix,
        depth: 6,
    };
    find(Bug::StreamContinued, settings, &expected);
}

#[test]
fn a_vote_without_the_records_decides_a_cut_that_no_majority_holds() {
    let settings = Settings {
        disk: Disk::Instant,
        transactions: 2,
        frames: 1,
        ..Settings::default()
    };
    let expected = Expected {
        invariant: Invariant::Cut,
        depth: 6,
    };
    find(Bug::VoteWithoutRecords, settings, &expected);
}
