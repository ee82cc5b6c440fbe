//! New code for a running database: versions side by side, a replica that lacks one, and one whose code is another under the same name.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::Duration;

use plimsoll::Plimsoll;
use plimsoll::id::{ClusterId, NodeId};
use plimsoll::key::Key;
use plimsoll::net::{Address, Authority, Credentials};
use plimsoll::protocol::Refusal;
use plimsoll::runtime::{OpenError, ReadFailed, ReplicaStatus, SubmitError};
use plimsoll::store::StoreError;
use plimsoll::thunk::{Evaluation, Registry, RegistryError, Thunk};
use plimsoll::transaction::{Abort, Footprint, ThunkId};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, timeout};

/// Longer than anything here takes, on a machine that has other things to do.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before looking again whether something has happened.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Adds to a balance.
#[derive(Serialize, Deserialize)]
struct Deposit {
    amount: i64,
}

/// The same with a fee: another behaviour, so another version.
#[derive(Serialize, Deserialize)]
struct DepositWithFee {
    amount: i64,
    fee: i64,
}

/// What somebody has made of the first version without giving it another one.
#[derive(Serialize, Deserialize)]
struct CarelessDeposit {
    amount: i64,
}

impl Thunk for CarelessDeposit {
    const NAME: &'static str = Deposit::NAME;
    const VERSION: u32 = Deposit::VERSION;
    type Output = i64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write("balance".into())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<i64, Abort> {
        add(evaluation, self.amount + 1)
    }
}

/// A folder of one test, empty at first and removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("plimsoll-upgrade-{test}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed stays in the folder for temporary files.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Three nodes on loopback that are to be.
struct Cluster {
    authority: Authority,
    folder: Folder,
    addresses: Vec<SocketAddr>,
}

impl Cluster {
    fn new(test: &str) -> Self {
        let sockets: Vec<_> = (0..3)
            .map(|_| UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port"))
            .collect();
        let address_of = |socket: &UdpSocket| socket.local_addr().expect("it is bound");
        Self {
            authority: Authority::new(ClusterId::new(7), None).expect("entropy"),
            folder: Folder::new(test),
            addresses: sockets.iter().map(address_of).collect(),
        }
    }

    fn folder_of(&self, node: u32) -> PathBuf {
        self.folder.0.join(format!("node-{node}"))
    }

    /// Opens a node with this code, once its folder and address are free.
    async fn open(&self, node: u32, registry: impl Fn() -> Registry) -> Plimsoll {
        loop {
            let issued = self.authority.node(NodeId::new(node), None).expect("entropy");
            let credentials = Credentials::from_pem(&issued.certificate, &issued.key, self.authority.certificate());
            let mut builder = Plimsoll::node(credentials.expect("what was just made"))
                .folder(self.folder_of(node))
                .listen(self.addresses[node as usize - 1])
                .deadline(PATIENCE)
                .registry(registry());
            for peer in (1..=3).filter(|peer| *peer != node) {
                builder = builder.peer(peer, Address::Socket(self.addresses[peer as usize - 1]));
            }
            match builder.open().await {
                Ok(database) => return database,
                Err(OpenError::Store(StoreError::InUse { .. }) | OpenError::Network(_)) => sleep(LOOK_AGAIN).await,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// The built-in thunks and one more.
fn registry<T: Thunk>() -> Registry {
    let mut registry = Registry::with_builtins();
    registry.register::<T>().expect("its name is free");
    registry
}

/// How the one replica of a node stands.
async fn status(node: &Plimsoll) -> ReplicaStatus {
    let mut replicas = node.replicas().await;
    replicas.pop().expect("it runs")
}

/// Waits until the one replica of a node stands so.
async fn until(node: &Plimsoll, is_so: impl Fn(&ReplicaStatus) -> bool) -> ReplicaStatus {
    let waiting = async {
        loop {
            let status = status(node).await;
            if is_so(&status) {
                return status;
            }
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, waiting).await.expect("it comes to that")
}

fn add(evaluation: &mut Evaluation<'_>, amount: i64) -> Result<i64, Abort> {
    let balance = evaluation.get_as::<i64>(&Key::from("balance"))?.unwrap_or(0) + amount;
    evaluation.put_as(&Key::from("balance"), &balance)?;
    Ok(balance)
}

impl Thunk for Deposit {
    const NAME: &'static str = "deposit";
    const VERSION: u32 = 1;
    type Output = i64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write("balance".into())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<i64, Abort> {
        add(evaluation, self.amount)
    }
}

impl Thunk for DepositWithFee {
    const NAME: &'static str = "deposit";
    const VERSION: u32 = 2;
    type Output = i64;

    fn footprint(&self) -> Footprint {
        Footprint::new().write("balance".into())
    }

    fn evaluate(&self, evaluation: &mut Evaluation<'_>) -> Result<i64, Abort> {
        add(evaluation, self.amount - self.fee)
    }
}

async fn balance(database: &Plimsoll) -> i64 {
    let value = database.get("balance").await.expect("alive").expect("it was put");
    plimsoll::codec::decode_value(&value).expect("as it was put")
}

#[tokio::test(flavor = "multi_thread")]
async fn two_versions_of_one_thunk_are_evaluated_side_by_side_and_old_records_after_the_upgrade() {
    let folder = Folder::new("versions");
    let database = Plimsoll::builder()
        .replicas(3)
        .folder(&folder.0)
        .thunk::<Deposit>()
        .open()
        .await
        .expect("an empty folder");
    for _ in 0..20 {
        database
            .submit(&Deposit { amount: 10 })
            .await
            .expect("nothing is in the way");
    }
    // Killed: what was not flushed is evaluated again, by the code that is there then.
    drop(database);
    let database = reopened(|| {
        Plimsoll::builder()
            .replicas(3)
            .folder(&folder.0)
            .thunk::<Deposit>()
            .thunk::<DepositWithFee>()
    })
    .await;
    assert_eq!(balance(&database).await, 200);
    let new = database.submit(&DepositWithFee { amount: 10, fee: 1 }).await;
    assert_eq!(new.expect("every replica has it").output, 209);
    let old = database.submit(&Deposit { amount: 10 }).await;
    assert_eq!(old.expect("every replica has it").output, 219);
    for replica in database.replicas().await {
        assert_eq!((replica.blocked, replica.divergence), (None, None));
    }
    database.shutdown().await;
}

/// Opens a folder whose replicas have just been told to stop.
async fn reopened(builder: impl Fn() -> plimsoll::runtime::Builder) -> Plimsoll {
    loop {
        match builder().open().await {
            Ok(database) => return database,
            Err(OpenError::Store(StoreError::InUse { .. })) => sleep(LOOK_AGAIN).await,
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_opened_without_a_thunk_of_its_log_names_it_and_opens_with_it() {
    let folder = Folder::new("reopened");
    let with_code = || Plimsoll::builder().folder(&folder.0).thunk::<Deposit>();
    let database = with_code().open().await.expect("an empty folder");
    // The first is flushed at once, the others are not for a while.
    for _ in 0..7 {
        database
            .submit(&Deposit { amount: 1 })
            .await
            .expect("nothing is in the way");
    }
    drop(database);
    let error = loop {
        let opened = Plimsoll::builder()
            .folder(&folder.0)
            .deadline(Duration::from_secs(3))
            .open();
        match opened.await.expect_err("its log holds a transaction of unknown code") {
            OpenError::Store(StoreError::InUse { .. }) => sleep(LOOK_AGAIN).await,
            error => break error,
        }
    };
    let thunk = ThunkId::of::<Deposit>();
    let node = NodeId::new(1);
    let expected = Refusal::Blocked { node, thunk };
    assert!(
        matches!(&error, OpenError::NoAnswer(ReadFailed::Refused(refusal)) if *refusal == expected),
        "{error}"
    );
    assert!(error.to_string().contains("deposit v1"), "{error}");
    let database = reopened(with_code).await;
    assert_eq!(balance(&database).await, 7);
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thunk_is_registered_while_the_database_runs() {
    let database = Plimsoll::builder()
        .replicas(3)
        .open()
        .await
        .expect("threads and memory");
    let error = database.submit(&Deposit { amount: 1 }).await.expect_err("unknown");
    assert!(matches!(error, SubmitError::Invalid(_)), "{error}");
    database.register::<Deposit>().await.expect("its name is free");
    let clone = database.clone();
    assert_eq!(clone.submit(&Deposit { amount: 1 }).await.expect("known").output, 1);
    database.register::<DepositWithFee>().await.expect("another version");
    let submitted = database.submit(&DepositWithFee { amount: 2, fee: 1 }).await;
    assert_eq!(submitted.expect("known").output, 2);
    let twice = database.register::<Deposit>().await;
    assert!(matches!(twice, Err(RegistryError::Twice(_))), "{twice:?}");
    database.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_stopped_by_records_of_unknown_code_and_goes_on_when_that_is_registered() {
    let cluster = Cluster::new("stopped");
    let with_code = registry::<Deposit>;
    let (first, second) = (cluster.open(1, with_code).await, cluster.open(2, with_code).await);
    let third = cluster.open(3, with_code).await;
    first.submit(&Deposit { amount: 1 }).await.expect("everybody has it");
    // Killed; the others put it out and go on.
    third.stop_replica(3).await.expect("it is here");
    drop(third);
    first.submit(&Deposit { amount: 1 }).await.expect("a majority is there");

    let third = cluster.open(3, Registry::with_builtins).await;
    let thunk = ThunkId::of::<Deposit>();
    let stopped = until(&third, |status| status.blocked.is_some()).await;
    assert_eq!(stopped.blocked, Some(thunk.clone()));
    let node = NodeId::new(3);
    let refused = third.get("balance").await.expect_err("it has not got so far");
    assert_eq!(refused, ReadFailed::Refused(Refusal::Blocked { node, thunk }));
    // It harms nobody.
    let submitting = async {
        loop {
            match first.submit(&Deposit { amount: 1 }).await {
                // Heard is that it has started without the thunk, and not yet that it is stopped by it.
                Err(SubmitError::Refused(Refusal::Lacking { .. })) => sleep(LOOK_AGAIN).await,
                other => return other,
            }
        }
    };
    let submitted = timeout(PATIENCE, submitting).await.expect("it is heard of");
    assert_eq!(submitted.expect("a majority is there").output, 3);
    assert_eq!(status(&second).await.blocked, None);

    third.register::<Deposit>().await.expect("its name is free");
    until(&third, |status| {
        status.blocked.is_none() && status.evaluated > stopped.evaluated
    })
    .await;
    assert_eq!(balance(&third).await, 3);
    assert_eq!(
        third
            .submit(&Deposit { amount: 1 })
            .await
            .expect("everybody has it")
            .output,
        4
    );
    for node in [third, second, first] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thunk_that_a_node_lacks_is_refused_at_the_others_with_its_name() {
    let cluster = Cluster::new("lacking");
    let first = cluster.open(1, registry::<Deposit>).await;
    let second = cluster.open(2, registry::<Deposit>).await;
    let third = cluster.open(3, Registry::with_builtins).await;
    let error = first
        .submit(&Deposit { amount: 1 })
        .await
        .expect_err("the third has not got it");
    let (thunk, nodes) = (ThunkId::of::<Deposit>(), vec![NodeId::new(3)]);
    assert_eq!(error, SubmitError::Refused(Refusal::Lacking { thunk, nodes }));
    let text = error.to_string();
    assert!(
        text.contains("thunk deposit v1 is not registered on n3: start that node"),
        "{text}"
    );
    let lacking = status(&first).await.lacking;
    assert_eq!(
        lacking.into_iter().collect::<Vec<_>>(),
        [(ThunkId::of::<Deposit>(), vec![NodeId::new(3)])]
    );
    third.register::<Deposit>().await.expect("its name is free");
    // The others hear of it in a moment.
    until(&first, |status| status.lacking.is_empty()).await;
    first.submit(&Deposit { amount: 1 }).await.expect("everybody has it");
    assert_eq!(balance(&third).await, 1);
    for node in [third, second, first] {
        node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_other_code_under_the_same_name_stops_serving_and_shows_what_it_evaluated() {
    let cluster = Cluster::new("careless");
    let first = cluster.open(1, registry::<Deposit>).await;
    let second = cluster.open(2, registry::<Deposit>).await;
    let careless = cluster.open(3, registry::<CarelessDeposit>).await;
    let mut ids = Vec::new();
    // Digests are compared about once a second.
    let submitting = async {
        while status(&careless).await.divergence.is_none() {
            let deposit = Deposit { amount: 123_456_789 };
            ids.push(first.submit(&deposit).await.expect("a majority is there").id);
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, submitting).await.expect("it finds out");
    let refused = careless.get("balance").await.expect_err("it has stopped serving");
    let node = NodeId::new(3);
    assert_eq!(refused, ReadFailed::Refused(Refusal::Quarantined { node }));
    assert_eq!(
        first
            .submit(&Deposit { amount: 0 })
            .await
            .expect("the others go on")
            .output,
        balance(&second).await
    );

    let divergence = status(&careless).await.divergence.expect("it has found out");
    let name = format!("divergence-{}.txt", divergence.own.boundary.unix_millis());
    let file = cluster.folder_of(3).join(name);
    let reading = async {
        while !file.exists() {
            sleep(LOOK_AGAIN).await;
        }
    };
    timeout(PATIENCE, reading).await.expect("it is written");
    careless.shutdown().await;
    let dump = fs::read_to_string(&file).expect("it is whole when the node has stopped");
    for digest in [divergence.own, divergence.majority] {
        assert!(dump.contains(&format!("{:016x}", digest.value)), "{dump}");
    }
    assert!(ids.iter().any(|id| dump.contains(&id.to_string())), "{dump}");
    assert!(
        dump.contains("deposit v1") && dump.contains("outcome here at"),
        "{dump}"
    );
    // The state of an honest one is not in doubt.
    for node in [second, first] {
        let name = |entry: fs::DirEntry| entry.file_name().to_string_lossy().into_owned();
        let number = status(&node).await.node.number();
        let files = fs::read_dir(cluster.folder_of(number)).expect("its folder");
        assert!(!files.flatten().map(name).any(|name| name.starts_with("divergence")));
        node.shutdown().await;
    }
}
