//! An hour of updates with nodes that come and go: what lies on their disks stays bounded.

use std::path::Path;

use plimsoll_sim::report::Judgement;
use plimsoll_sim::run::run;
use plimsoll_sim::scenario::Scenario;

const MINUTE_US: u64 = 60_000_000;

/// Bytes of a disk that are never exceeded after the first minutes, as a share of the most in the first third of the run behind them.
const GROWTH_MAX: f64 = 1.1;

#[test]
#[ignore = "an hour of virtual time takes minutes without optimisation"]
fn disks_stay_bounded_over_an_hour_of_churn() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios/churn.toml");
    let scenario = Scenario::load(&path, &[]).expect("it is a scenario");
    let finished = run("churn", &scenario, 1, &mut |_| {}).expect("it can be run");
    println!("{}", finished.report.table());
    assert_eq!(finished.report.judgement(), Judgement::Pass);
    println!("minute  node  disk KiB  log KiB  unflushed KiB");
    for sample in &finished.disks {
        let minute = sample.time_us / MINUTE_US;
        if minute.is_multiple_of(5) || minute == 1 {
            let [disk, log, unflushed] = [sample.disk, sample.log, sample.unflushed].map(|bytes| bytes >> 10);
            println!(
                "{minute:>6}  {:>4}  {disk:>8}  {log:>7}  {unflushed:>13}",
                sample.node.to_string()
            );
        }
    }
    let most = |minutes: std::ops::Range<u64>| {
        let within = finished
            .disks
            .iter()
            .filter(|sample| minutes.contains(&(sample.time_us / MINUTE_US)));
        within
            .map(|sample| sample.disk)
            .max()
            .expect("there is one for every minute")
    };
    // Outcomes are kept for ten minutes.
    let (early, late) = (most(12..28), most(28..61));
    assert!(late as f64 <= early as f64 * GROWTH_MAX, "{late} bytes after {early}");
}
