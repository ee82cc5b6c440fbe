//! Getting another replica's state in place of records that nobody keeps any more.
//!
//! Realises the receiving side of the snapshots of section 3.7 of the design: whom to ask, for which piece, how long to wait, and when
//! to install what has come. A transfer goes on at another member when the one asked falls silent, and is given up when the
//! records have come from elsewhere meanwhile. What the pieces hold and whether they make a whole is for the driver to say.

use std::time::Duration;

use super::config::Profile;
use super::{ChunkTaken, SyncMark};
use crate::id::NodeId;
use crate::time::{Hlc, Monotonic};

/// One who was asked this often without an answer is asked no more, if there is another one.
const SILENCES_MAX: u32 = 3;

/// How often the patience with an answer is doubled at most.
const DOUBLINGS_MAX: u32 = 4;

/// The transfer of one snapshot to this node, if there is one.
#[derive(Clone, Debug, Default, Hash)]
pub(crate) struct Transfer {
    pending: Option<Pending>,
}

#[derive(Clone, Debug, Hash)]
struct Pending {
    /// Records at or below are missing here and kept by nobody.
    through: Hlc,
    /// Who is asked.
    from: NodeId,
    /// The checkpoint of which there are pieces here.
    bound: Option<Hlc>,
    /// Where the piece begins that is needed now; empty: at the beginning.
    cursor: Vec<u8>,
    stage: Stage,
    /// How often in a row there was no answer.
    silences: u32,
    /// How long the last piece took.
    took: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Stage {
    /// The piece is to be asked for.
    Ask,
    /// It was asked for at this time.
    Asked(Monotonic),
    /// The driver looks at one.
    Adding,
    /// All pieces are there, of the checkpoint at this bound; that it will be installed is not written to the log yet.
    Complete(Hlc),
    /// It is being written to the log under this mark.
    Noting(Hlc, SyncMark),
    /// It may be installed.
    Noted(Hlc),
    /// The driver installs it.
    Restoring(Hlc),
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Ask this node for the piece that begins there.
    Ask {
        /// Whom.
        from: NodeId,
        /// The checkpoint of which there are pieces here.
        bound: Option<Hlc>,
        /// Where the piece begins.
        cursor: Vec<u8>,
    },
    /// Write to the log that the checkpoint at this bound is being installed, and say so with [`Transfer::on_noted`].
    Note(Hlc),
    /// Install it as soon as no batch is out, and say so with [`Transfer::on_restoring`].
    Restore(Hlc),
    /// What has come so far is of no use any more.
    Discard,
}

impl Transfer {
    /// Records at or below `through` are missing here, and `from` has dropped them. Has no effect while a transfer is under way.
    pub(crate) fn begin(&mut self, from: NodeId, through: Hlc) {
        self.pending.get_or_insert(Pending {
            through,
            from,
            bound: None,
            cursor: Vec::new(),
            stage: Stage::Ask,
            silences: 0,
            took: Duration::ZERO,
        });
    }

    /// Whether there is one.
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Whether a piece from this node is waited for; then it goes to the driver, who answers with [`Transfer::on_taken`].
    pub(crate) fn on_chunk(&mut self, from: NodeId, now: Monotonic) -> bool {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.from == from) else {
            return false;
        };
        let Stage::Asked(since) = pending.stage else {
            return false;
        };
        (pending.stage, pending.silences, pending.took) = (Stage::Adding, 0, now.since(since));
        true
    }

    /// The driver has looked at the piece.
    ///
    /// *Given* the members but this node, of whom the next one is asked if the pieces are of no use.
    pub(crate) fn on_taken(&mut self, taken: ChunkTaken, others: &[NodeId], now: Monotonic) {
        let Some(pending) = self.pending.as_mut().filter(|pending| pending.stage == Stage::Adding) else {
            return;
        };
        match taken {
            // A piece that had come before: the one asked for is still on its way, and asking for it again would have everything sent twice.
            ChunkTaken::More { bound, next } if (pending.bound, &pending.cursor) == (Some(bound), &next) => {
                pending.stage = Stage::Asked(now);
            }
            ChunkTaken::More { bound, next } => {
                (pending.bound, pending.cursor, pending.stage) = (Some(bound), next, Stage::Ask);
            }
            ChunkTaken::Complete { bound } => pending.stage = Stage::Complete(bound),
            ChunkTaken::Refused => pending.begin_anew(others),
        }
    }

    /// What is due now. *Given* how far this replica has evaluated, and the members but this node.
    pub(crate) fn on_time(
        &mut self,
        evaluated: Hlc,
        others: &[NodeId],
        now: Monotonic,
        profile: &Profile,
    ) -> Option<Step> {
        let pending = self.pending.as_mut()?;
        let is_of_use = evaluated < pending.through;
        match pending.stage {
            // The driver's answer comes first.
            Stage::Adding | Stage::Noting(..) | Stage::Restoring(_) => return None,
            _ if !is_of_use => {
                self.pending = None;
                return Some(Step::Discard);
            }
            Stage::Complete(bound) | Stage::Noted(bound) if bound <= evaluated => {
                pending.begin_anew(others);
                return Some(Step::Discard);
            }
            Stage::Complete(bound) => return Some(Step::Note(bound)),
            Stage::Noted(bound) => return Some(Step::Restore(bound)),
            Stage::Asked(since) if now < since.plus(pending.patience(profile)) => return None,
            Stage::Asked(_) => {
                pending.silences += 1;
                if pending.silences.is_multiple_of(SILENCES_MAX) {
                    pending.turn(others);
                }
            }
            Stage::Ask => {}
        }
        pending.stage = Stage::Asked(now);
        Some(Step::Ask {
            from: pending.from,
            bound: pending.bound,
            cursor: pending.cursor.clone(),
        })
    }

    /// When [`Transfer::on_time`] may next have something to do.
    pub(crate) fn wake_at(&self, profile: &Profile) -> Monotonic {
        match &self.pending {
            Some(pending) => match pending.stage {
                Stage::Asked(since) => since.plus(pending.patience(profile)),
                // Done in the step that leads there, or once the batch that is out has come back.
                _ => Monotonic::NEVER,
            },
            None => Monotonic::NEVER,
        }
    }

    /// That the checkpoint is being installed is written to the log under `mark`.
    pub(crate) fn on_noted(&mut self, mark: SyncMark) {
        if let Some(pending) = &mut self.pending
            && let Stage::Complete(bound) = pending.stage
        {
            pending.stage = Stage::Noting(bound, mark);
        }
    }

    /// Everything up to `mark` is durable.
    pub(crate) fn on_persisted(&mut self, mark: SyncMark) {
        if let Some(pending) = &mut self.pending
            && let Stage::Noting(bound, noted) = pending.stage
            && noted <= mark
        {
            pending.stage = Stage::Noted(bound);
        }
    }

    /// The driver was told to install it.
    pub(crate) fn on_restoring(&mut self) {
        if let Some(pending) = &mut self.pending
            && let Stage::Noted(bound) = pending.stage
        {
            pending.stage = Stage::Restoring(bound);
        }
    }

    /// The driver has installed the checkpoint at `bound`.
    ///
    /// *Panics* when it was not told to.
    pub(crate) fn on_restored(&mut self, bound: Hlc) {
        let stage = self.pending.take().map(|pending| pending.stage);
        assert!(
            stage == Some(Stage::Restoring(bound)),
            "a checkpoint at {bound} was installed, and what was wanted was {stage:?}"
        );
    }
}

impl Pending {
    fn patience(&self, profile: &Profile) -> Duration {
        let first = (profile.fetch_after * 2).max(self.took * 2);
        first * (1 << self.silences.min(DOUBLINGS_MAX))
    }

    /// Asks the next one from now on.
    fn turn(&mut self, others: &[NodeId]) {
        let next = others.iter().find(|other| **other > self.from).or(others.first());
        self.from = next.copied().unwrap_or(self.from);
        self.took = Duration::ZERO;
    }

    fn begin_anew(&mut self, others: &[NodeId]) {
        self.turn(others);
        (self.bound, self.cursor, self.stage) = (None, Vec::new(), Stage::Ask);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{hlc, node};
    use super::*;

    const OTHERS: [NodeId; 2] = [NodeId::new(2), NodeId::new(3)];

    fn ms(ms: u64) -> Monotonic {
        Monotonic(ms * 1000)
    }

    fn ask(from: u32, bound: Option<u64>, cursor: &[u8]) -> Option<Step> {
        Some(Step::Ask {
            from: node(from),
            bound: bound.map(hlc),
            cursor: cursor.to_vec(),
        })
    }

    fn more(next: u8) -> ChunkTaken {
        ChunkTaken::More {
            bound: hlc(9),
            next: vec![next],
        }
    }

    fn begun() -> Transfer {
        let mut transfer = Transfer::default();
        transfer.begin(node(3), hlc(8));
        transfer
    }

    fn step(transfer: &mut Transfer, at_ms: u64) -> Option<Step> {
        transfer.on_time(hlc(3), &OTHERS, ms(at_ms), &Profile::wan())
    }

    #[test]
    fn pieces_are_asked_for_one_after_the_other_until_they_are_installed() {
        let mut transfer = begun();
        assert_eq!(step(&mut transfer, 0), ask(3, None, &[]));
        assert!(transfer.on_chunk(node(3), ms(80)));
        transfer.on_taken(more(1), &OTHERS, ms(80));
        assert_eq!(step(&mut transfer, 80), ask(3, Some(9), &[1]));
        assert!(transfer.on_chunk(node(3), ms(160)));
        transfer.on_taken(ChunkTaken::Complete { bound: hlc(9) }, &OTHERS, ms(160));
        assert_eq!(step(&mut transfer, 160), Some(Step::Note(hlc(9))));
        transfer.on_noted(SyncMark(4));
        transfer.on_persisted(SyncMark(3));
        assert_eq!(step(&mut transfer, 170), None, "it is not durable yet");
        transfer.on_persisted(SyncMark(4));
        assert_eq!(step(&mut transfer, 180), Some(Step::Restore(hlc(9))));
        transfer.on_restoring();
        transfer.on_restored(hlc(9));
        assert_eq!(step(&mut transfer, 9000), None);
        assert_eq!(transfer.wake_at(&Profile::wan()), Monotonic::NEVER);
    }

    #[test]
    fn who_stays_silent_is_asked_three_times_and_then_another_goes_on() {
        let mut transfer = begun();
        let (mut asked, mut now_ms) = (Vec::new(), 0);
        while asked.len() < 5 {
            if let Some(Step::Ask { from, .. }) = step(&mut transfer, now_ms) {
                asked.push((from.number(), now_ms));
            }
            now_ms = now_ms.max(transfer.wake_at(&Profile::wan()).0 / 1000);
        }
        assert_eq!(asked, [(3, 0), (3, 500), (3, 1500), (2, 3500), (2, 7500)]);
    }

    #[test]
    fn a_piece_that_comes_twice_or_late_makes_nothing_be_asked_for_twice() {
        let mut transfer = begun();
        step(&mut transfer, 0);
        assert!(!transfer.on_chunk(node(2), ms(40)), "nobody asked this one");
        assert!(transfer.on_chunk(node(3), ms(80)));
        assert!(!transfer.on_chunk(node(3), ms(81)), "the driver has one already");
        transfer.on_taken(more(1), &OTHERS, ms(82));
        assert_eq!(step(&mut transfer, 82), ask(3, Some(9), &[1]));
        assert!(transfer.on_chunk(node(3), ms(83)), "the first one again");
        transfer.on_taken(more(1), &OTHERS, ms(83));
        assert_eq!(step(&mut transfer, 83), None, "the second one is on its way");
        assert!(transfer.on_chunk(node(3), ms(160)));
    }

    #[test]
    fn pieces_that_do_not_fit_are_asked_for_from_the_beginning_elsewhere() {
        let mut transfer = begun();
        step(&mut transfer, 0);
        transfer.on_chunk(node(3), ms(80));
        transfer.on_taken(ChunkTaken::Refused, &OTHERS, ms(80));
        assert_eq!(step(&mut transfer, 80), ask(2, None, &[]));
    }

    #[test]
    fn what_has_come_from_elsewhere_meanwhile_is_not_installed() {
        let mut transfer = begun();
        step(&mut transfer, 0);
        let evaluated = hlc(8);
        assert_eq!(
            transfer.on_time(evaluated, &OTHERS, ms(10), &Profile::wan()),
            Some(Step::Discard)
        );
        assert!(!transfer.on_chunk(node(3), ms(80)));
        let mut transfer = begun();
        step(&mut transfer, 0);
        transfer.on_chunk(node(3), ms(80));
        transfer.on_taken(ChunkTaken::Complete { bound: hlc(3) }, &OTHERS, ms(80));
        assert_eq!(
            step(&mut transfer, 80),
            Some(Step::Discard),
            "it is evaluated to 3 already"
        );
        assert_eq!(step(&mut transfer, 80), ask(2, None, &[]));
    }
}
