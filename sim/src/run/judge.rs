//! All verdicts on a run: the checkers that fit the workload, and what the run itself must tell.

use std::collections::BTreeMap;

use crate::check::{Checks, FinalCounters, Observed, Verdict, Violation};
use crate::client::Recorder;
use crate::scenario::{CutConfig, Scenario, WorkloadKind};
use crate::workload::judged_as;
use crate::world::{Ending, Rule, Run};

/// Violations that one check of this module names; the others are counted in the last one.
const NAMED_MAX: usize = 10;

/// The verdict of each check by its name.
///
/// Beside those of [`Checks`]: `answers` (no client got an answer that was none), `nodes` (no node broke a rule before the
/// world's eyes or found itself different from a majority), `durability` (what was answered lay on a majority's disks), `invariants` (no invariant of the
/// protocol was broken before the eyes of an observer of all nodes), `storage` (what a disk had said to be durable was there after a crash, and no store
/// erred on a sound disk), `settled` (everything was answered and all replicas came to one
/// bound), `final-reads` (they were answered) and `work` (there was something to judge).
pub(super) fn judge(
    scenario: &Scenario,
    run: &Run,
    recorder: &Recorder,
    final_reads_unanswered: Option<usize>,
    finals: Vec<FinalCounters>,
) -> BTreeMap<&'static str, Verdict> {
    let finals = comparable(scenario, run, finals);
    let checks = Checks::new(judged_as(&scenario.workload));
    judge_by(checks, scenario, run, recorder, final_reads_unanswered, &finals)
}

/// The same by the checkers that fit the clients, whatever these did.
pub(crate) fn judge_by(
    mut checks: Checks,
    scenario: &Scenario,
    run: &Run,
    recorder: &Recorder,
    final_reads_unanswered: Option<usize>,
    finals: &[FinalCounters],
) -> BTreeMap<&'static str, Verdict> {
    let is_beyond = scenario.faults.beyond_budget;
    if cut_for_ever(scenario).is_some() || is_beyond {
        // Whoever is cut off to the end may call in vain to the end.
        checks = checks.without("liveness");
    }
    let mut verdicts = checks.run(&Observed {
        history: &recorder.history,
        replicas: &run.replicas,
        watermarks: &run.watermarks,
        finals,
    });
    verdicts.insert("answers", answers(recorder));
    verdicts.insert("nodes", nodes(run));
    verdicts.insert("durability", broken(run, Rule::Durability));
    verdicts.insert("invariants", broken(run, Rule::Invariant));
    verdicts.insert("storage", broken(run, Rule::Storage));
    if !is_beyond {
        // Beyond what is promised a cluster may stand still: it must not be wrong.
        verdicts.insert("settled", settled(scenario, &run.ending));
        verdicts.insert("final-reads", final_reads(final_reads_unanswered));
        verdicts.insert("work", work(recorder));
    }
    verdicts
}

/// The counters that can be held against what clients were answered: those of replicas that have come to the end. An account
/// that was never written holds what all begin with.
fn comparable(scenario: &Scenario, run: &Run, mut finals: Vec<FinalCounters>) -> Vec<FinalCounters> {
    if !matches!(run.ending, Ending::Settled { .. }) {
        return Vec::new();
    }
    let workload = &scenario.workload;
    if workload.kind == WorkloadKind::Transfer {
        for replica in &mut finals {
            for account in 0..workload.keys {
                replica.values.entry(account).or_insert(workload.initial_balance as i64);
            }
        }
    }
    finals
}

fn answers(recorder: &Recorder) -> Verdict {
    let more = recorder.wrong_answers_count - recorder.wrong_answers.len() as u64;
    fail_if_any("wrong-answer", recorder.wrong_answers.clone(), more)
}

/// The breaches of one kind of rule.
fn breaches(run: &Run, rule: Rule) -> Vec<String> {
    let of_rule = run.breaches.iter().filter(|breach| breach.rule == rule);
    of_rule
        .map(|breach| format!("{} at {} us: {}", breach.node, breach.time_us, breach.what))
        .collect()
}

fn broken(run: &Run, rule: Rule) -> Verdict {
    fail_if_any("broken-rule", breaches(run, rule), 0)
}

fn nodes(run: &Run) -> Verdict {
    let mut broken = breaches(run, Rule::Conduct);
    let diverged = run
        .nodes
        .iter()
        .filter_map(|node| Some((node.node, node.divergence.as_ref()?)));
    broken.extend(diverged.map(|(node, divergence)| {
        format!(
            "{node} differs from {:?}: its digest is {:?}, theirs {:?}",
            divergence.peers, divergence.own, divergence.majority
        )
    }));
    fail_if_any("broken-rule", broken, 0)
}

fn settled(scenario: &Scenario, ending: &Ending) -> Verdict {
    let Ending::OutOfTime { awaited } = ending else {
        return Verdict::Pass;
    };
    if let Some(cut) = cut_for_ever(scenario) {
        return Verdict::Unknown {
            why: format!(
                "the links from {} to {} stay cut, so replicas may never come together; set until_s to see whether they do",
                cut.from, cut.to
            ),
            size: awaited.len(),
        };
    }
    fail_if_any("not-settled", awaited.clone(), 0)
}

/// A cut that never heals.
fn cut_for_ever(scenario: &Scenario) -> Option<&CutConfig> {
    scenario.faults.cut.iter().find(|cut| cut.until_s.is_none())
}

fn final_reads(unanswered: Option<usize>) -> Verdict {
    match unanswered {
        Some(0) => Verdict::Pass,
        Some(size) => Verdict::Unknown {
            why: "final reads were not answered, so what they would have shown is not judged".to_owned(),
            size,
        },
        None => Verdict::Unknown {
            why: "the run ended before the final reads: calls were still open".to_owned(),
            size: 0,
        },
    }
}

fn work(recorder: &Recorder) -> Verdict {
    if recorder.counts.committed > 0 || recorder.counts.reads_answered > 0 {
        return Verdict::Pass;
    }
    Verdict::Unknown {
        why: "nothing was committed and nothing read: there was nothing to judge".to_owned(),
        size: recorder.history.entries.len(),
    }
}

pub(crate) fn fail_if_any(anomaly: &'static str, messages: Vec<String>, mut more: u64) -> Verdict {
    more += messages.len().saturating_sub(NAMED_MAX) as u64;
    let mut violations: Vec<Violation> = messages
        .into_iter()
        .take(NAMED_MAX)
        .map(|message| Violation::new(anomaly, message, Vec::new()))
        .collect();
    match violations.last_mut() {
        None => Verdict::Pass,
        Some(last) => {
            if more > 0 {
                last.message.push_str(&format!(" (and {more} more)"));
            }
            Verdict::Fail(violations)
        }
    }
}

#[cfg(test)]
mod tests {
    use plimsoll::id::NodeId;

    use super::*;
    use crate::network::NetworkCounts;
    use crate::world::{Breach, MessageCounts};

    const SCENARIO: &str = "[world]\nregions = [\"a\", \"b\"]\nload_s = 1\nrtt_ms = { a = { b = 10 } }\n";

    fn scenario(more: &str) -> Scenario {
        Scenario::parse("test.toml", &format!("{SCENARIO}{more}"), &[]).unwrap()
    }

    fn run(ending: Ending, breaches: Vec<Breach>) -> Run {
        Run {
            trace_hash: 0,
            events: 0,
            event_counts: Vec::new(),
            network: NetworkCounts::default(),
            cut_frames: Vec::new(),
            faults: BTreeMap::new(),
            epochs: Vec::new(),
            proposers: BTreeMap::new(),
            crashes: Vec::new(),
            messages: MessageCounts::default(),
            nodes: Vec::new(),
            disks: Vec::new(),
            watermarks: Vec::new(),
            replicas: Vec::new(),
            ending,
            breaches,
            last_events: Vec::new(),
        }
    }

    fn settled_run() -> Run {
        let ending = Ending::Settled {
            at_us: 5,
            bound: plimsoll::time::Hlc::ZERO,
        };
        run(ending, Vec::new())
    }

    fn out_of_time() -> Ending {
        Ending::OutOfTime {
            awaited: vec!["clients still wait for answers".to_owned()],
        }
    }

    #[test]
    fn a_run_without_work_is_not_called_sound() {
        let verdicts = judge(
            &scenario(""),
            &settled_run(),
            &Recorder::new(2, 0..1),
            Some(0),
            Vec::new(),
        );
        assert!(matches!(verdicts["work"], Verdict::Unknown { .. }));
        assert!(
            verdicts
                .iter()
                .all(|(name, verdict)| *name == "work" || verdict.is_pass()),
            "{verdicts:#?}"
        );
    }

    #[test]
    fn a_broken_rule_and_a_wrong_answer_are_failures() {
        let breach = Breach {
            time_us: 9,
            node: NodeId::new(2),
            rule: Rule::Conduct,
            what: "answered twice".to_owned(),
        };
        let mut recorder = Recorder::new(2, 0..1);
        recorder.wrong_answers = (0..20).map(|number| format!("wrong {number}")).collect();
        recorder.wrong_answers_count = 50;
        let broken = run(settled_run().ending, vec![breach]);
        let verdicts = judge(&scenario(""), &broken, &recorder, Some(0), Vec::new());
        assert_eq!(verdicts["nodes"].violations()[0].message, "n2 at 9 us: answered twice");
        let wrong = verdicts["answers"].violations();
        assert_eq!((wrong.len(), &wrong[9].message[..]), (10, "wrong 9 (and 40 more)"));
    }

    #[test]
    fn a_run_that_does_not_settle_fails_unless_a_cut_never_heals() {
        let recorder = Recorder::new(2, 0..1);
        let run = run(out_of_time(), Vec::new());
        let verdicts = judge(&scenario(""), &run, &recorder, None, Vec::new());
        assert_eq!(verdicts["settled"].violations()[0].anomaly, "not-settled");
        assert!(matches!(verdicts["final-reads"], Verdict::Unknown { .. }));
        let cut = scenario("[[faults.cut]]\nfrom = \"a\"\nto = \"b\"\n");
        let verdicts = judge(&cut, &run, &recorder, Some(3), Vec::new());
        assert!(matches!(verdicts["settled"], Verdict::Unknown { size: 1, .. }));
        assert!(matches!(verdicts["final-reads"], Verdict::Unknown { size: 3, .. }));
        let healed = scenario("[[faults.cut]]\nfrom = \"a\"\nto = \"b\"\nuntil_s = 0.5\n");
        assert!(judge(&healed, &run, &recorder, None, Vec::new())["settled"].is_fail());
    }

    #[test]
    fn end_states_count_only_where_the_replicas_came_to_the_end_and_untouched_accounts_hold_their_start() {
        let finals = |value| {
            vec![FinalCounters {
                node: NodeId::new(1),
                values: BTreeMap::from([(3, value)]),
            }]
        };
        let (scenario, recorder) = (scenario(""), Recorder::new(2, 0..1));
        let verdict = |run: &Run, value| judge(&scenario, run, &recorder, Some(0), finals(value))["transfer"].clone();
        assert!(verdict(&settled_run(), 1_000).is_pass());
        assert!(verdict(&settled_run(), 1_001).is_fail());
        assert!(verdict(&run(out_of_time(), Vec::new()), 1_001).is_pass());
    }
}
