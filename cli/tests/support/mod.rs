//! The real program: run once, or as the nodes of a cluster on loopback.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::net::{Credentials, CredentialsFiles};
use plimsoll_sim::check::{Checks, Observed, Verdict};
use plimsoll_sim::history::History;
use plimsoll_sim::scenario::{WorkloadConfig, WorkloadKind};
use plimsoll_sim::workload::judged_as;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_plimsoll");

/// Longer than any one thing here takes on a machine that has other things to do.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Runs the program to its end, without anything from the environment that it would heed.
pub(crate) fn plimsoll(arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new(PROGRAM);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PLIMSOLL_") {
            command.env_remove(name);
        }
    }
    command.args(arguments).output().expect("it was built")
}

/// What a run printed that ended with status 0.
pub(crate) fn succeeded(output: &Output) -> String {
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{told}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// What a run said on standard error that ended with this status.
pub(crate) fn refused(output: &Output, status: i32) -> String {
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(status), "{told}");
    told
}

/// What the simulator's checkers say of what clients of `bench` saw.
pub(crate) fn verdicts(kind: WorkloadKind, keys: u64, history: &History) -> BTreeMap<&'static str, Verdict> {
    let config = WorkloadConfig {
        kind,
        keys,
        initial_balance: 1_000_000,
        ..WorkloadConfig::default()
    };
    Checks::new(judged_as(&config)).run(&Observed::history(history))
}

/// What `bench --history` wrote.
pub(crate) fn history_of(file: &Path) -> History {
    let file = File::open(file).expect("it was written");
    History::read_json_lines(BufReader::new(file)).expect("it is in the simulator's form")
}

/// Nodes of the real program, each a process. Those that run are killed when this is dropped.
pub(crate) struct Cluster {
    folder: TempDir,
    /// Of the nodes that run, and of those that will.
    ports: BTreeMap<u32, u16>,
    running: BTreeMap<u32, Child>,
}

impl Cluster {
    /// Certificates and free ports for so many nodes, of which none runs yet.
    pub(crate) fn new(nodes: u32) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let count = nodes.to_string();
        let out = folder.path().join("credentials");
        succeeded(&plimsoll(&[
            "certs",
            "all",
            "--nodes",
            &count,
            "--out",
            out.to_str().unwrap(),
        ]));
        // All at once, so that no two are alike.
        let sockets: Vec<_> = (0..nodes).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
        let ports = sockets.iter().map(|socket| socket.local_addr().unwrap().port());
        Self {
            folder,
            ports: (1..).zip(ports).collect(),
            running: BTreeMap::new(),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn credentials(&self, name: &str) -> PathBuf {
        self.folder.path().join("credentials").join(name)
    }

    pub(crate) fn address(&self, node: u32) -> String {
        format!("127.0.0.1:{}", self.ports[&node])
    }

    /// Starts a node whose first members are these, and waits until it says that it serves.
    pub(crate) async fn start(&mut self, node: u32, members: &[u32]) {
        let says = format!("n{node} serves at {}", self.address(node));
        self.start_with(node, members, "", &says).await;
    }

    /// As [`Cluster::start`], with further settings, and what it says when it serves.
    pub(crate) async fn start_with(&mut self, node: u32, members: &[u32], settings: &str, says: &str) {
        let peers = members.iter().filter(|peer| **peer != node);
        let peers: Vec<String> = peers
            .map(|peer| format!("{peer} = {:?}", self.address(*peer)))
            .collect();
        let path = self.folder.path().join(format!("node-{node}.toml"));
        let text = format!(
            "folder = \"data-{node}\"\ncredentials = \"credentials/node-{node}\"\nlisten = {:?}\nmembers = {members:?}\npeers = {{ {} }}\n{settings}",
            self.address(node),
            peers.join(", "),
        );
        fs::write(&path, text).unwrap();
        let log = self.log_path(node);
        let child = Command::new(PROGRAM)
            .arg("serve")
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .expect("it was built");
        let before = self.running.insert(node, child);
        assert!(before.is_none(), "n{node} runs already");
        let serves = async {
            while !fs::read_to_string(&log).unwrap().contains(says) {
                let child = self.running.get_mut(&node).expect("just inserted");
                if let Some(status) = child.try_wait().unwrap() {
                    panic!("n{node} ended with {status}: {}", fs::read_to_string(&log).unwrap());
                }
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, serves).await.expect("a node serves soon");
    }

    fn log_path(&self, node: u32) -> PathBuf {
        self.folder.path().join(format!("node-{node}.log"))
    }

    pub(crate) fn log(&self, node: u32) -> String {
        fs::read_to_string(self.log_path(node)).unwrap()
    }

    /// Sends a signal to a node that runs.
    pub(crate) fn signal(&self, node: u32, signal: Signal) {
        let number = self.running[&node].id().expect("it runs");
        let number = Pid::from_raw(number.cast_signed()).expect("no process has the number 0");
        kill_process(number, signal).unwrap();
    }

    /// Waits until a node has ended that was told to.
    pub(crate) async fn ended(&mut self, node: u32) -> ExitStatus {
        let mut child = self.running.remove(&node).expect("it runs");
        timeout(PATIENCE, child.wait()).await.expect("it ends soon").unwrap()
    }

    /// Kills a node at once.
    pub(crate) async fn kill(&mut self, node: u32) {
        self.signal(node, Signal::KILL);
        assert!(!self.ended(node).await.success());
    }

    /// Runs a command against these nodes with the credentials of a client.
    pub(crate) async fn ask(&self, nodes: &[u32], arguments: &[&str]) -> Output {
        let places: Vec<String> = nodes
            .iter()
            .map(|node| format!("{node}={}", self.address(*node)))
            .collect();
        let mut command = Command::new(PROGRAM);
        command
            .args(arguments)
            .env("PLIMSOLL_CREDENTIALS", self.credentials("client"))
            .env("PLIMSOLL_NODES", places.join(","))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let ended = timeout(PATIENCE * 2, command.output()).await;
        ended.unwrap_or_else(|_| panic!("{arguments:?} does not end")).unwrap()
    }

    /// What a command printed that succeeded.
    pub(crate) async fn asked(&self, nodes: &[u32], arguments: &[&str]) -> String {
        let output = self.ask(nodes, arguments).await;
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {told}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// A handle that asks these nodes with the credentials of a client, the first one first.
    pub(crate) async fn handle(&self, nodes: &[u32]) -> Plimsoll {
        let folder = self.credentials("client");
        let credentials = Credentials::read(&CredentialsFiles {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
            authority: folder.join("authority.pem"),
        });
        let mut builder = Plimsoll::remote(credentials.unwrap()).deadline(PATIENCE);
        for node in nodes {
            builder = builder.node(*node, self.address(*node).parse().unwrap());
        }
        builder.open().await.unwrap()
    }
}
