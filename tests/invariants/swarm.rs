//! Random scripts of faults.

use plimsoll::id::NodeId;
use plimsoll::protocol::config::Profile;
use plimsoll::protocol::{Change, ReadMode};
use rand::{RngExt, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use crate::cluster::{Cluster, node};

#[test]
fn random_scripts_of_faults_break_nothing() {
    (0..8).for_each(swarm);
}

/// A minute or so of crashes, restarts, cuts, stuck disks, wrong clocks and changes of the members under load. The desk ends the script
/// at the first violation.
fn swarm(seed: u64) {
    let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut count = [1, 3, 3, 5][random.random_range(0..4)];
    let mut profile = match random.random_bool(0.5) {
        true => Profile::wan(),
        false => Profile::lan(),
    };
    profile.records_kept_bytes = [usize::MAX, 1_000, 0][random.random_range(0..3)];
    let mut cluster = Cluster::new(count, random.random_range(1..40), profile);
    cluster.is_flushing = random.random_bool(0.6);
    cluster.is_pruning = random.random_bool(0.5);
    let weights: [u32; 5] = [20, 4, 6, 4, 2].map(|most| random.random_range(0..=most));
    let pause_ms = [5, 50, 400][random.random_range(0..3)];
    let (mut now_ms, mut number) = (0, 0);
    for _ in 0..120 {
        now_ms += random.random_range(0..pause_ms);
        if random.random_bool(0.03) {
            now_ms += random.random_range(0..8_000);
        }
        cluster.run_until_ms(now_ms);
        let mut some = || node(random.random_range(1..=count));
        let (at, other) = (some(), some());
        let dice = random.random_range(0..=weights.iter().sum::<u32>());
        let mut reached = 0;
        let kind = weights.iter().position(|weight| {
            reached += weight;
            dice < reached
        });
        match kind {
            Some(1) if cluster.dead.contains(&at) => cluster.restart(at),
            Some(1) if !cluster.dead.contains(&at) => cluster.crash(at),
            Some(2) if random.random_bool(0.3) => cluster.cuts.clear(),
            Some(2) if at != other => drop(cluster.cuts.insert((at, other))),
            Some(3) => {
                let sync_us = [Some(100), Some(5_000), Some(300_000), None][random.random_range(0..4)];
                cluster.sync_us.insert(at, sync_us);
                cluster.offset_ms.insert(other, random.random_range(-300..300));
            }
            Some(4) if count < 7 && random.random_bool(0.4) => {
                count += 1;
                cluster.start_learner(node(count));
            }
            Some(4) => {
                let change = match random.random_range(0..5) {
                    0 => Change::Leave(other),
                    1 => Change::Replace {
                        leaves: some_of(&mut random, count),
                        joins: other,
                    },
                    _ => Change::Join(other),
                };
                cluster.change(at, change);
            }
            _ if random.random_bool(0.02) => cluster.resign(at),
            _ if random.random_bool(0.25) => drop(cluster.read(at, ReadMode::Strict)),
            _ => {
                number += 1;
                cluster.submit(at, number);
            }
        }
    }
}

fn some_of(random: &mut Xoshiro256PlusPlus, count: u32) -> NodeId {
    node(random.random_range(1..=count))
}
