//! Watches at a replica: the searches for their changes, and those that wait for something to happen.
//!
//! Realises the replica's half of [`Watch`](super::Watch). It runs on the thread that evaluates: a search is taken on by one step at a time, between
//! whatever else is to be done there, and who has seen everything is looked at again behind each batch. So a change is told as soon as it is evaluated,
//! and nobody asks in vain more than about once a second.

use bincode::{Decode, Encode};
use tokio::sync::oneshot;

use super::evaluator::Work;
use crate::executor::{Changes, ChangesQuery, Place, ReadError, Search, Sought};
use crate::limits::{CHANGES_WALKS_MAX, WATCHES_WAITING_MAX};
use crate::protocol::Refusal;
use crate::replica::ReplicaState;
use crate::time::Hlc;

/// Timestamp time after which a watch is told how far it has come although nothing in its range has changed: so that its place does not grow older
/// than what is kept.
const TELL_AFTER_MS: u64 = 1_000;

/// What a replica answers to a watch.
pub(crate) type ChangesReply = Result<Changes, NotTold>;

/// Why a replica does not tell a watch of changes.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) enum NotTold {
    /// It serves nobody, or not this.
    Refused(Refusal),
    /// They are no longer kept here, or cannot be read.
    Read(ReadError),
}

/// The changes of none, up to where they were asked for.
pub(crate) fn nothing_new(upto: Place) -> Changes {
    let changes = Vec::new();
    Changes { changes, upto }
}

/// A watch that waits.
struct Waiting {
    query: ChangesQuery,
    /// The evaluated bound when it began to.
    since: Hlc,
    reply: oneshot::Sender<ChangesReply>,
}

/// The watches at one replica.
#[derive(Default)]
pub(crate) struct Watches {
    waiting: Vec<Waiting>,
    /// How many searches are under way.
    searches: usize,
}

impl Watches {
    /// Takes a search on. *Gives* what there is to do later, if it has not ended.
    pub(crate) fn seek(
        &mut self,
        state: &mut impl ReplicaState,
        search: Search,
        reply: oneshot::Sender<ChangesReply>,
    ) -> Option<Work> {
        let since = state.evaluated();
        self.go_on(state, search, since, reply)
    }

    /// Something was evaluated. *Gives* what there is to do later.
    pub(crate) fn on_evaluated(&mut self, state: &mut impl ReplicaState) -> Vec<Work> {
        let mut work = Vec::new();
        for Waiting { query, since, reply } in std::mem::take(&mut self.waiting) {
            // Who has gone elsewhere is forgotten.
            if !reply.is_closed() {
                work.extend(self.go_on(state, Search::new(query), since, reply));
            }
        }
        work
    }

    fn go_on(
        &mut self,
        state: &mut impl ReplicaState,
        search: Search,
        since: Hlc,
        reply: oneshot::Sender<ChangesReply>,
    ) -> Option<Work> {
        let (query, was_under_way) = (search.query().clone(), search.is_under_way());
        let sought = state.seek(search);
        let is_under_way = matches!(sought, Ok(Sought::Searching(_)));
        let searches = self.searches + usize::from(is_under_way) - usize::from(was_under_way);
        if is_under_way && !was_under_way && searches > CHANGES_WALKS_MAX {
            let _ = reply.send(Ok(nothing_new(query.after)));
            return None;
        }
        self.searches = searches;
        match sought {
            Err(error) => drop(reply.send(Err(NotTold::Read(error)))),
            // Also if nobody waits any more: what it finds is at hand for who asks again.
            Ok(Sought::Searching(search)) => return Some(Work::Changes { search, reply }),
            Ok(Sought::Found(changes)) => {
                let passed_ms = state.evaluated().unix_millis().saturating_sub(since.unix_millis());
                let is_due = !changes.changes.is_empty() || passed_ms >= TELL_AFTER_MS;
                if is_due || self.waiting.len() >= WATCHES_WAITING_MAX {
                    let _ = reply.send(Ok(changes));
                } else {
                    let after = changes.upto;
                    let query = ChangesQuery { after, ..query };
                    self.waiting.push(Waiting { query, since, reply });
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::id::{NodeId, TransactionId};
    use crate::key::{Key, KeyRange};
    use crate::protocol::Batch;
    use crate::replica::MemoryState;
    use crate::thunk::{Put, Registry};
    use crate::time::Timestamp;
    use crate::transaction::{Record, ThunkId};
    use crate::{client, time};

    const START_MS: u64 = 1_800_000_000_000;

    fn at_ms(ms: u64) -> Hlc {
        Hlc::from_unix_millis(START_MS + ms)
    }

    struct Bench {
        registry: Arc<Registry>,
        state: MemoryState,
        watches: Watches,
    }

    impl Bench {
        fn new() -> Self {
            let registry = Arc::new(Registry::with_builtins());
            Self {
                state: MemoryState::new(Arc::clone(&registry)),
                registry,
                watches: Watches::default(),
            }
        }

        /// Evaluates up to a moment, and there a write of these keys.
        fn evaluate(&mut self, ms: u64, keys: impl IntoIterator<Item = String>) {
            let entries: Vec<_> = keys
                .into_iter()
                .map(|key| (Key::from(key.as_str()), "x".into()))
                .collect();
            let mut records = Vec::new();
            if !entries.is_empty() {
                let id = TransactionId::from_parts(START_MS + ms, *b"random ten");
                let arguments = client::arguments(&Put { entries }).unwrap();
                let transaction = client::admit(&self.registry, id, ThunkId::of::<Put>(), arguments).unwrap();
                let (hlc, node) = (at_ms(ms), NodeId::new(1));
                records.push((time::Timestamp { hlc, node }, Arc::new(Record { hlc, transaction })));
            }
            let upto = at_ms(ms);
            self.state.evaluate(&Batch { records, upto }).unwrap();
        }

        fn ask(&mut self, range: KeyRange, ms: u64) -> (Option<Work>, oneshot::Receiver<ChangesReply>) {
            let (reply, answer) = oneshot::channel();
            let after = Place::after(Timestamp::last_at(at_ms(ms)));
            let query = ChangesQuery {
                range,
                after,
                limit: 10,
            };
            (self.watches.seek(&mut self.state, Search::new(query), reply), answer)
        }
    }

    #[test]
    fn a_watch_waits_until_its_range_changes_or_a_second_has_passed() {
        let mut bench = Bench::new();
        bench.evaluate(100, ["a".to_owned()]);
        let (_, mut changed) = bench.ask(KeyRange::prefix("a".into()), 100);
        let (_, mut unchanged) = bench.ask(KeyRange::prefix("b".into()), 100);
        bench.evaluate(200, ["a".to_owned()]);
        assert_eq!(bench.watches.on_evaluated(&mut bench.state).len(), 0);
        let changes = changed.try_recv().unwrap().unwrap();
        assert_eq!(
            (changes.changes.len(), changes.changes[0].timestamp.hlc),
            (1, at_ms(200))
        );
        assert!(unchanged.try_recv().is_err(), "it waits");
        bench.evaluate(1_100, []);
        bench.watches.on_evaluated(&mut bench.state);
        let told = unchanged.try_recv().unwrap().unwrap();
        assert_eq!(told, nothing_new(Place::after(Timestamp::last_at(at_ms(1_100)))));
        assert_eq!(bench.watches.waiting.len(), 0);
    }

    #[test]
    fn who_has_gone_is_forgotten_and_no_more_wait_than_may() {
        let mut bench = Bench::new();
        let range = KeyRange::from(Key::default());
        let (_, gone) = bench.ask(range.clone(), 0);
        drop(gone);
        bench.evaluate(100, []);
        bench.watches.on_evaluated(&mut bench.state);
        assert_eq!(bench.watches.waiting.len(), 0);
        let mut answers: Vec<_> = (0..=WATCHES_WAITING_MAX)
            .map(|_| bench.ask(range.clone(), 100).1)
            .collect();
        let refused = answers.pop().unwrap().try_recv().unwrap().unwrap();
        assert_eq!(refused.changes, []);
        assert!(answers[0].try_recv().is_err(), "it waits");
    }

    #[test]
    fn long_searches_are_taken_on_step_by_step_and_few_at_a_time() {
        let mut bench = Bench::new();
        for batch in 0..3 {
            bench.evaluate(100 + batch, (0..4_000).map(|key| format!("{batch}/{key}")));
        }
        let range = KeyRange::from(Key::default());
        let mut under_way: Vec<_> = (0..CHANGES_WALKS_MAX).map(|_| bench.ask(range.clone(), 0)).collect();
        assert!(under_way.iter().all(|(work, _)| work.is_some()));
        let (work, mut answer) = bench.ask(range.clone(), 0);
        assert!(work.is_none());
        let told = answer.try_recv().unwrap().unwrap();
        assert_eq!(told, nothing_new(Place::after(Timestamp::last_at(at_ms(0)))));
        for (work, answer) in &mut under_way {
            let mut steps = 0;
            while let Some(Work::Changes { search, reply }) = work.take() {
                *work = bench.watches.seek(&mut bench.state, search, reply);
                steps += 1;
            }
            assert!(steps > 1, "{steps}");
            assert_eq!(answer.try_recv().unwrap().unwrap().changes.len(), 10);
        }
        assert_eq!(bench.watches.searches, 0);
    }
}
