//! Monotone bounds: what a node has called settled stays settled.

use std::collections::BTreeMap;

use plimsoll::id::NodeId;
use plimsoll::time::Hlc;

use super::verdict::{Accusations, Verdict};

/// What a node showed at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatermarkSample {
    /// When, in microseconds.
    pub time_us: u64,
    /// Which node.
    pub node: NodeId,
    /// How often it had been started before: 0 in its first run.
    pub run: u32,
    /// Its watermark.
    pub watermark: Hlc,
    /// Its evaluated bound.
    pub evaluated: Hlc,
}

/// Judges samples in the order of time: within a run neither bound goes back, and nothing above the watermark is evaluated.
///
/// A restarted node may know a lower watermark than it had; then the highest of its earlier runs bounds what it has evaluated.
///
/// *Gives* [`Verdict::Fail`] with `watermark-back`, `evaluated-back`, `evaluated-above-watermark` or, for samples out of order,
/// `malformed-samples`.
pub fn monotone_watermarks(samples: &[WatermarkSample]) -> Verdict {
    let mut accusations = Accusations::default();
    let mut last_by_node: BTreeMap<NodeId, WatermarkSample> = BTreeMap::new();
    let mut highest_by_node: BTreeMap<NodeId, Hlc> = BTreeMap::new();
    for sample in samples {
        let highest = highest_by_node.entry(sample.node).or_default();
        *highest = sample.watermark.max(*highest);
        let mut accuse = |anomaly, text: String| {
            let text = format!("{} at {} us (run {}): {text}", sample.node, sample.time_us, sample.run);
            accusations.add(anomaly, || (text, Vec::new()));
        };
        if sample.evaluated > *highest {
            accuse(
                "evaluated-above-watermark",
                format!(
                    "it has evaluated to {}, and its highest watermark is {highest}",
                    sample.evaluated
                ),
            );
        }
        if let Some(last) = last_by_node.insert(sample.node, *sample) {
            if (sample.time_us, sample.run) < (last.time_us, last.run) || sample.run < last.run {
                accuse(
                    "malformed-samples",
                    format!("the sample before is of {} us and run {}", last.time_us, last.run),
                );
            } else if sample.run == last.run {
                if sample.watermark < last.watermark {
                    let text = format!(
                        "the watermark went back from {} to {}",
                        last.watermark, sample.watermark
                    );
                    accuse("watermark-back", text);
                }
                if sample.evaluated < last.evaluated {
                    let text = format!(
                        "the evaluated bound went back from {} to {}",
                        last.evaluated, sample.evaluated
                    );
                    accuse("evaluated-back", text);
                }
            }
        }
    }
    accusations.verdict()
}
