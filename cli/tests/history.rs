//! Three processes of the real program, of which one after the other is killed under the load of `bench`: what its clients saw is judged
//! by the simulator's checkers, as if it were a simulated run.

#![allow(clippy::unwrap_used, reason = "a helper of tests fails the test that calls it")]

mod support;

use std::process::Stdio;
use std::time::Duration;

use plimsoll_sim::history::Phase;
use plimsoll_sim::scenario::WorkloadKind;
use support::{Cluster, PATIENCE, PROGRAM, history_of, verdicts};
use tokio::process::Command;
use tokio::time::{sleep, timeout};

const FIRST: [u32; 3] = [1, 2, 3];
const KEYS: u64 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn what_clients_of_a_cluster_saw_while_its_nodes_were_killed_is_strictly_serializable() {
    for (workload, kind) in [("ycsb", WorkloadKind::YcsbT), ("transfer", WorkloadKind::Transfer)] {
        let mut cluster = Cluster::new(3);
        for node in FIRST {
            cluster.start(node, &FIRST).await;
        }
        let path = cluster.folder().join("history.json");
        let (address, keys) = (format!("1={}", cluster.address(1)), KEYS.to_string());
        let mut bench = Command::new(PROGRAM);
        bench
            .args(["bench", "--workload", workload, "--keys", &keys, "--clients", "8"])
            .args(["--seconds", "8", "--warm-up", "0", "--deadline", "5"])
            .args(["--node", &address, "--history", path.to_str().unwrap(), "--cluster"])
            .arg(cluster.credentials("client"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let bench = bench.spawn().unwrap();
        for node in FIRST {
            sleep(Duration::from_millis(1_500)).await;
            cluster.kill(node).await;
            sleep(Duration::from_millis(500)).await;
            cluster.start(node, &FIRST).await;
        }
        let ended = timeout(PATIENCE * 2, bench.wait_with_output()).await.unwrap().unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(0), "{workload}: {told}");
        let history = history_of(&path);
        let answers = history.entries.iter().filter(|entry| entry.phase == Phase::Ok);
        assert!(answers.count() > 100, "{workload}: there is little to judge");
        for (check, verdict) in verdicts(kind, KEYS, &history) {
            assert!(verdict.is_pass(), "{workload}, {check}: {verdict:?}");
        }
    }
}
