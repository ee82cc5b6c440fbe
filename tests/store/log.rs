//! What a log must do, over any implementation of it.

use plimsoll::store::Log;
use proptest::prelude::*;

/// The suite over one implementation, as tests in a module.
///
/// *Given* the module's name, an empty log of `u64`, and what makes of a log the one that is there after a crash.
macro_rules! suite {
    ($name:ident, $empty:expr, $crash:expr) => {
        mod $name {
            use super::*;

            #[test]
            fn a_crash_keeps_what_was_synced_and_nothing_else() {
                log::a_crash_keeps_what_was_synced_and_nothing_else($empty, $crash);
            }

            #[test]
            fn what_was_not_synced_cannot_be_read() {
                log::what_was_not_synced_cannot_be_read($empty);
            }

            #[test]
            fn dropped_entries_are_passed_over_and_the_numbers_stay() {
                log::dropped_entries_are_passed_over_and_the_numbers_stay($empty, $crash);
            }

            #[test]
            #[should_panic(expected = "durable")]
            fn entries_that_are_not_durable_are_not_dropped() {
                let mut log = $empty;
                plimsoll::store::Log::append(&mut log, 1_u64).expect("the medium is sound");
                let _ = plimsoll::store::Log::drop_below(&mut log, 1);
            }

            #[test]
            fn any_run_of_steps_leaves_what_a_plain_list_would_hold() {
                log::any_run_of_steps_leaves_what_a_plain_list_would_hold(|| $empty, $crash);
            }
        }
    };
}
pub(crate) use suite;

pub(crate) fn a_crash_keeps_what_was_synced_and_nothing_else<L: Log<Entry = u64>>(mut log: L, crash: impl Fn(L) -> L) {
    assert_eq!(log.append(10).expect("the medium is sound"), 1);
    assert_eq!(log.append(11).expect("the medium is sound"), 2);
    assert_eq!(
        (log.durable(), log.sync().expect("the medium is sound"), log.durable()),
        (0, 2, 2)
    );
    assert_eq!(log.append(12).expect("the medium is sound"), 3);
    let mut log = crash(log);
    assert_eq!(log.durable(), 2);
    assert_eq!(log.read(0, usize::MAX).expect("the medium is sound"), [10, 11]);
    assert_eq!(
        log.append(13).expect("the medium is sound"),
        3,
        "the number of the lost one is given again"
    );
    log.sync().expect("the medium is sound");
    assert_eq!(log.read(0, usize::MAX).expect("the medium is sound"), [10, 11, 13]);
}

pub(crate) fn what_was_not_synced_cannot_be_read<L: Log<Entry = u64>>(mut log: L) {
    for entry in 0..5 {
        log.append(entry).expect("the medium is sound");
    }
    assert_eq!(log.read(0, usize::MAX).expect("the medium is sound"), []);
    log.sync().expect("the medium is sound");
    log.append(5).expect("the medium is sound");
    assert_eq!(log.read(1, 3).expect("the medium is sound"), [1, 2, 3]);
    assert_eq!(log.read(4, 3).expect("the medium is sound"), [4]);
    assert_eq!(log.read(5, 3).expect("the medium is sound"), []);
    assert_eq!(log.read(u64::MAX, 3).expect("the medium is sound"), []);
}

pub(crate) fn dropped_entries_are_passed_over_and_the_numbers_stay<L: Log<Entry = u64>>(
    mut log: L,
    crash: impl Fn(L) -> L,
) {
    for entry in 0..5 {
        log.append(entry).expect("the medium is sound");
    }
    log.sync().expect("the medium is sound");
    log.drop_below(3).expect("the medium is sound");
    log.drop_below(2).expect("the medium is sound");
    for mut log in [log].map(crash) {
        assert!(log.first() <= 3, "it may keep more, and not less");
        assert_eq!(log.read(3, usize::MAX).expect("the medium is sound"), [3, 4]);
        assert_eq!(log.read(4, usize::MAX).expect("the medium is sound"), [4]);
        assert_eq!((log.durable(), log.append(5).expect("the medium is sound")), (5, 6));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append,
    Sync,
    Crash,
    DropBelow(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Append),
        2 => Just(Step::Sync),
        1 => Just(Step::Crash),
        1 => (0..10_u64).prop_map(Step::DropBelow),
    ];
    proptest::collection::vec(step, 0..60)
}

pub(crate) fn any_run_of_steps_leaves_what_a_plain_list_would_hold<L: Log<Entry = u64>>(
    empty: impl Fn() -> L,
    crash: impl Fn(L) -> L,
) {
    proptest!(|(steps in steps())| {
        let mut log = empty();
        let (mut written, mut durable, mut first) = (Vec::new(), 0, 0);
        for (entry, step) in steps.into_iter().enumerate() {
            match step {
                Step::Append => {
                    written.push(entry as u64);
                    prop_assert_eq!(log.append(entry as u64).expect("the medium is sound"), written.len() as u64);
                }
                Step::Sync => {
                    durable = written.len();
                    prop_assert_eq!(log.sync().expect("the medium is sound"), durable as u64);
                }
                Step::Crash => {
                    written.truncate(durable);
                    log = crash(log);
                }
                Step::DropBelow(back) => {
                    let number = (durable as u64).saturating_sub(back);
                    first = first.max(number as usize);
                    log.drop_below(number).expect("the medium is sound");
                }
            }
            prop_assert_eq!(log.durable(), durable as u64);
        }
        prop_assert!(log.first() <= first as u64, "it may keep more, and not less");
        for from in first..=durable {
            let expected = &written[from..durable];
            prop_assert_eq!(&log.read(from as u64, usize::MAX).expect("the medium is sound"), expected);
            prop_assert_eq!(&log.read(from as u64, 2).expect("the medium is sound"), &expected[..expected.len().min(2)]);
        }
    });
}
