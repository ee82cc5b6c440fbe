//! I-4 to I-6: the ends of epochs.

use plimsoll::id::Epoch;
use plimsoll::protocol::decree::{Answer, Ballot, Decree};
use plimsoll::protocol::invariants::{Invariant, Watcher};
use plimsoll::protocol::message::{Message, Promise};
use plimsoll::protocol::{Effect, Input, LogEntry};
use plimsoll::time::Hlc;

use crate::plant::{
    N1, N2, N3, SECOND, decide, decree, first, found, persist, record, row, send, underway, vote, warm, written,
};

#[test]
fn i_4_a_cut_below_a_watermark_or_above_what_a_majority_holds_is_found() {
    let (cluster, issued) = underway();
    let found = |cut: Hlc| found(&cluster, |watcher| decide(watcher, 1, &decree(&cluster, cut)));
    assert_eq!(found(first(&cluster).hlc.prev()), [Invariant::Cut]);
    assert_eq!(found(issued.hlc), [Invariant::Cut], "one disk holds it");
    assert_eq!(found(issued.hlc.prev()), []);
}

#[test]
fn i_4_a_row_that_rises_after_the_vote_is_found() {
    let (cluster, issued) = underway();
    let said = send(Message::Row(row(&cluster, N2, Epoch::FIRST, issued.hlc)));
    let found = found(&cluster, |watcher| {
        watcher.on_durable(N2, &[vote(1, None)]);
        watcher.on_durable(N2, &[written(Epoch::FIRST, N1, issued)]);
        watcher.on_step(cluster.node(N2), &[said]);
    });
    assert_eq!(found, [Invariant::Cut]);
}

#[test]
fn i_4_and_i_6_an_answer_that_says_too_little_or_too_much_is_found() {
    let (cluster, issued) = underway();
    let node = cluster.node(N2);
    let found = |position, clock| {
        let answer = Answer {
            positions: vec![(N1, position)],
            clock,
            accepted: None,
        };
        let ballot = Ballot { round: 1, proposer: N1 };
        let epoch = Epoch::FIRST;
        let effect = send(Message::Promise(Promise { epoch, ballot, answer }));
        found(&cluster, |watcher| watcher.on_step(node, &[effect]))
    };
    let (low, true_one, high) = (first(&cluster).hlc.prev(), issued.hlc.prev(), issued.hlc);
    assert_eq!(found(true_one, Hlc::MAX), []);
    assert_eq!(found(low, Hlc::MAX), [Invariant::Cut], "it has acknowledged more");
    assert_eq!(found(high, Hlc::MAX), [Invariant::Cut], "it is not on its disk");
    assert_eq!(found(true_one, low), [Invariant::Order], "it has promised more");
}

#[test]
fn i_4_and_i_6_a_watermark_that_passes_a_cut_afterwards_is_found() {
    let (cluster, issued) = underway();
    // The second record is cut off, and then a node is told that everybody holds it.
    let mut low = decree(&cluster, issued.hlc.prev());
    low.start = issued.hlc.next();
    let mut deceived = cluster.node(N1).clone();
    let lie = |id| {
        let mut row = row(&cluster, id, Epoch::FIRST, issued.hlc.plus(SECOND));
        row.raise_position(N2, issued.hlc.plus(SECOND));
        row.raise_position(N3, issued.hlc.plus(SECOND));
        Message::Row(row)
    };
    let received = Input::Receive {
        from: N2,
        messages: vec![lie(N2), lie(N3)],
    };
    deceived.step(cluster.now(N1), received, &mut Vec::new());
    let found = found(&cluster, |watcher| {
        decide(watcher, 1, &low);
        watcher.on_step(&deceived, &[]);
    });
    assert!(
        found.contains(&Invariant::Cut) && found.contains(&Invariant::Order),
        "{found:?}"
    );
}

#[test]
fn i_5_two_decrees_of_one_epoch_are_found_however_they_come_about() {
    let cluster = warm(3);
    let decreed = decree(&cluster, cluster.node(N1).watermark());
    let mut other = decreed.clone();
    other.coordinators.pop();
    let is_one_decree = |plant: &dyn Fn(&mut Watcher)| {
        assert_eq!(found(&cluster, |watcher| plant(watcher)), [Invariant::OneDecree]);
    };
    let install = |decree: &Decree| persist(LogEntry::Decree(decree.clone()));
    // Two majorities; one ballot with two decrees; a decree without a majority; another than was decided; one of a later epoch.
    is_one_decree(&|watcher| {
        decide(watcher, 1, &decreed);
        decide(watcher, 2, &other);
    });
    is_one_decree(&|watcher| {
        watcher.on_durable(N1, &[vote(1, Some(&decreed))]);
        watcher.on_durable(N2, &[vote(1, Some(&other))]);
    });
    is_one_decree(&|watcher| watcher.on_step(cluster.node(N1), &[install(&decreed)]));
    is_one_decree(&|watcher| {
        decide(watcher, 1, &decreed);
        watcher.on_step(cluster.node(N1), &[install(&other)]);
    });
    is_one_decree(&|watcher| {
        let epoch = Epoch::new(5);
        watcher.on_step(
            cluster.node(N1),
            &[install(&Decree {
                epoch,
                ..decreed.clone()
            })],
        );
    });
    let found = found(&cluster, |watcher| {
        decide(watcher, 1, &decreed);
        decide(watcher, 2, &decreed);
        watcher.on_step(cluster.node(N1), &[install(&decreed)]);
    });
    assert_eq!(found, [], "the same decree with a higher ballot is the same");
}

#[test]
fn i_5_a_restart_with_a_decree_that_was_none_or_without_its_vote_is_found() {
    let cluster = warm(3);
    let mut log = cluster.log(N2).to_vec();
    let forgetful = cluster.recovered(N2, &log);
    log.push(LogEntry::Decree(decree(&cluster, cluster.node(N1).watermark())));
    let invented = cluster.recovered(N2, &log);
    let found = |restarted| {
        found(&cluster, |watcher| {
            watcher.on_durable(N2, &[vote(1, None)]);
            watcher.on_crash(N2);
            watcher.on_restart(restarted);
        })
    };
    assert_eq!(found(&forgetful), [Invariant::OneDecree]);
    assert!(found(&invented).contains(&Invariant::OneDecree));
}

#[test]
fn i_5_a_node_in_an_epoch_that_no_decree_has_begun_is_found() {
    let cluster = warm(3);
    let mut deceived = cluster.node(N2).clone();
    let received = Input::Receive {
        from: N1,
        messages: vec![Message::Decided(decree(&cluster, cluster.node(N1).watermark()))],
    };
    let mut effects = Vec::new();
    deceived.step(cluster.now(N2), received, &mut effects);
    effects.retain(|effect| !matches!(effect, Effect::Persist { .. }));
    assert_eq!(
        found(&cluster, |watcher| watcher.on_step(&deceived, &effects))[0],
        Invariant::OneDecree
    );
}

#[test]
fn i_6_a_start_at_or_below_what_was_before_is_found() {
    let cluster = warm(3);
    let watermark = cluster.node(N1).watermark();
    let mut early = decree(&cluster, first(&cluster).hlc);
    early.start = first(&cluster).hlc.next();
    assert_eq!(
        found(&cluster, |watcher| decide(watcher, 1, &early)),
        [Invariant::Order]
    );
    let high_cut = Decree {
        start: watermark.plus(SECOND),
        ..decree(&cluster, watermark.plus(2 * SECOND))
    };
    assert_eq!(
        found(&cluster, |watcher| decide(watcher, 1, &high_cut)),
        [Invariant::Order]
    );
    // And a record in the new epoch at or below its start.
    let sound = decree(&cluster, watermark);
    let issue = persist(written(Epoch::new(2), N2, record(sound.start, 5)));
    let found = found(&cluster, |watcher| {
        decide(watcher, 1, &sound);
        watcher.on_durable(N2, &[LogEntry::Ceiling(Hlc::MAX)]);
        watcher.on_step(cluster.node(N2), &[issue]);
    });
    assert!(found.contains(&Invariant::Order), "{found:?}");
}
