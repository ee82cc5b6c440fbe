//! Walks with wider bounds than a search can have: all holds, and everything happens.

use plimsoll::protocol::Bug;
use plimsoll_model::property::Milestone;
use plimsoll_model::settings::{Disk, Settings};
use plimsoll_model::walk::walk;

fn wide() -> Settings {
    Settings {
        transactions: 3,
        reads: 1,
        crashes: 2,
        duplicates: 2,
        silences: 4,
        ..Settings::default()
    }
}

#[test]
fn wide_walks_break_nothing_and_see_everything() {
    let (mut slow, mut reached) = (wide(), [0; Milestone::ALL.len()]);
    slow.frames = 3;
    let instant = Settings {
        disk: Disk::Instant,
        ..wide()
    };
    for settings in [slow, instant] {
        let walked = walk(&settings, 0..250);
        assert!(walked.failed.is_none(), "{walked}");
        for (sum, count) in reached.iter_mut().zip(walked.reached) {
            *sum += count;
        }
    }
    for (milestone, count) in Milestone::ALL.iter().zip(reached) {
        assert!(count > 0, "{} never happens", milestone.name());
    }
}

#[test]
fn walks_find_a_planted_bug_too() {
    let planted = Settings {
        bug: Some(Bug::StartBelowPromise),
        ..wide()
    };
    let walked = walk(&planted, 0..250);
    assert!(walked.failed.is_some(), "{walked}");
}
