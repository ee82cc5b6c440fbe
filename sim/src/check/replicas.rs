//! Agreement of replicas: the same transactions in the same order with the same outcomes, and the same versions.

use plimsoll::id::{NodeId, TransactionId};
use plimsoll::time::{Hlc, Timestamp};

use super::verdict::{Accusations, Verdict};

/// What one replica evaluated, and what it holds in the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaTrace {
    /// The replica.
    pub node: NodeId,
    /// What lies at or below came to the replica as a snapshot, not by evaluation; [`Hlc::ZERO`] if nothing did.
    pub start: Hlc,
    /// How far it has evaluated.
    pub end: Hlc,
    /// The transactions that it evaluated above `start`, in the order of evaluation.
    pub evaluated: Vec<EvaluatedTransaction>,
    /// The latest version of every key that it holds at `end`, in any order.
    pub state: Vec<FinalEntry>,
}

/// One transaction as a replica evaluated it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvaluatedTransaction {
    /// Where.
    pub timestamp: Timestamp,
    /// Which.
    pub id: TransactionId,
    /// A hash of its outcome.
    pub outcome_hash: u64,
}

/// The latest version of one key on a replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FinalEntry {
    /// The key's bytes.
    pub key: Vec<u8>,
    /// Where it was written.
    pub timestamp: Timestamp,
    /// A hash of the value.
    pub value_hash: u64,
}

/// Judges whether replicas agree, each pair of them as far as both have come.
///
/// *Gives* [`Verdict::Fail`] with the first difference of each pair: `replica-order` (a replica evaluated out of timestamp
/// order or outside its bounds), `replica-transaction` (another transaction, or one more), `replica-outcome`,
/// `replica-state`. A key that a replica further ahead does not hold is taken to be deleted there.
///
/// *Cost*: pairs times transactions.
pub fn replica_agreement(replicas: &[ReplicaTrace]) -> Verdict {
    let mut accusations = Accusations::default();
    let mut states = Vec::new();
    for replica in replicas {
        own_order(replica, &mut accusations);
        let mut state: Vec<&FinalEntry> = replica.state.iter().collect();
        state.sort_unstable_by_key(|entry| (&entry.key, entry.timestamp));
        for pair in state.windows(2).filter(|pair| pair[0].key == pair[1].key) {
            accusations.add("replica-state", || {
                (
                    format!(
                        "{} shows two latest versions of {}",
                        replica.node,
                        pair[0].key.escape_ascii()
                    ),
                    Vec::new(),
                )
            });
        }
        states.push(state);
    }
    for (place, a) in replicas.iter().enumerate() {
        for (b, b_state) in replicas.iter().zip(&states).skip(place + 1) {
            evaluation(a, b, &mut accusations);
            state((a, &states[place]), (b, b_state), &mut accusations);
        }
    }
    accusations.verdict()
}

fn own_order(replica: &ReplicaTrace, accusations: &mut Accusations) {
    let mut last = Timestamp::last_at(replica.start);
    for evaluated in &replica.evaluated {
        if evaluated.timestamp <= last || evaluated.timestamp.hlc > replica.end {
            let (node, timestamp, id, end) = (replica.node, evaluated.timestamp, evaluated.id, replica.end);
            accusations.add("replica-order", || {
                (
                    format!("{node} evaluated {timestamp} ({id}) after {last}, with its bound at {end} in the end"),
                    Vec::new(),
                )
            });
            return;
        }
        last = evaluated.timestamp;
    }
}

/// What a replica evaluated above one bound and up to another.
fn between(replica: &ReplicaTrace, start: Hlc, end: Hlc) -> &[EvaluatedTransaction] {
    let from = replica
        .evaluated
        .partition_point(|evaluated| evaluated.timestamp.hlc <= start);
    let upto = replica
        .evaluated
        .partition_point(|evaluated| evaluated.timestamp.hlc <= end);
    &replica.evaluated[from..upto.max(from)]
}

fn evaluation(a: &ReplicaTrace, b: &ReplicaTrace, accusations: &mut Accusations) {
    let (start, end) = (a.start.max(b.start), a.end.min(b.end));
    let (of_a, of_b) = (between(a, start, end), between(b, start, end));
    let same = of_a.iter().zip(of_b).take_while(|(a, b)| a == b).count();
    let show = |evaluated: Option<&EvaluatedTransaction>| match evaluated {
        Some(evaluated) => format!(
            "{} ({}, outcome {:016x})",
            evaluated.timestamp, evaluated.id, evaluated.outcome_hash
        ),
        None => "nothing more".to_owned(),
    };
    let anomaly = match (of_a.get(same), of_b.get(same)) {
        (None, None) => return,
        (Some(a), Some(b)) if (a.timestamp, a.id) == (b.timestamp, b.id) => "replica-outcome",
        _ => "replica-transaction",
    };
    accusations.add(anomaly, || {
        let text = format!(
            "{} and {} agree on {same} transactions above {start}; then, up to {end}, {} evaluated {}, and {} {}",
            a.node,
            b.node,
            a.node,
            show(of_a.get(same)),
            b.node,
            show(of_b.get(same))
        );
        (text, Vec::new())
    });
}

/// Compares what both must hold: versions up to the lower end that the other has not replaced since.
fn state(
    (a, a_state): (&ReplicaTrace, &[&FinalEntry]),
    (b, b_state): (&ReplicaTrace, &[&FinalEntry]),
    accusations: &mut Accusations,
) {
    let end = a.end.min(b.end);
    let (mut of_a, mut of_b) = (a_state.iter().peekable(), b_state.iter().peekable());
    loop {
        let key = match (of_a.peek(), of_b.peek()) {
            (Some(a), Some(b)) => (&a.key).min(&b.key),
            (Some(entry), None) | (None, Some(entry)) => &entry.key,
            (None, None) => return,
        };
        let in_a = of_a.next_if(|entry| entry.key == *key);
        let in_b = of_b.next_if(|entry| entry.key == *key);
        let is_settled = |entry: &&&FinalEntry| entry.timestamp.hlc <= end;
        let agrees = match (in_a.filter(is_settled), in_b.filter(is_settled)) {
            (Some(a), Some(b)) => a == b,
            (None, None) => true,
            // The other has replaced it above the common bound, or deleted it there; else it should have it.
            (Some(_), None) => in_b.is_some() || b.end > end,
            (None, Some(_)) => in_a.is_some() || a.end > end,
        };
        if !agrees {
            accusations.add("replica-state", || {
                let show = |entry: Option<&&FinalEntry>| match entry {
                    Some(entry) => format!("the version {} (value {:016x})", entry.timestamp, entry.value_hash),
                    None => "none".to_owned(),
                };
                let key = key.escape_ascii();
                let (a, b) = (
                    format!("{} has {}", a.node, show(in_a)),
                    format!("{} has {}", b.node, show(in_b)),
                );
                (format!("of the key \"{key}\", up to {end}, {a}, and {b}"), Vec::new())
            });
            return;
        }
    }
}
