//! A cluster of three processes and a client: `cargo run --example cluster`.
//!
//! A lesson in five steps. Certificates are made (1), this program starts itself three more times, each time as a node (2), a client
//! connects and counts (3), one of the processes is killed while it counts on, and started again with its folder (4), and the node that
//! was dead tells what it has missed (5). On three machines the same steps are taken by hand, or by the command line: see
//! `docs/command-line.md`.

use std::error::Error;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use plimsoll::Plimsoll;
use plimsoll::id::{ClusterId, NodeId};
use plimsoll::net::{Address, Authority, Credentials, CredentialsFiles, Issued};
use plimsoll::thunk::{Increment, Operator};

const NODES: u32 = 3;
const STEPS: i64 = 50;

type Failure = Box<dyn Error + Send + Sync>;

/// Step 1: an authority signs a certificate for each node and one for clients. Nodes and clients are known by these and by nothing else;
/// the authority's own key would be kept off the nodes.
fn make_certificates(folder: &Path) -> Result<(), Failure> {
    let authority = Authority::new(ClusterId::new(u128::from(std::process::id())), None)?;
    let write = |name: &str, issued: &Issued| -> Result<(), Failure> {
        let files = files(folder, name);
        fs::write(files.certificate, &issued.certificate)?;
        fs::write(files.key, &issued.key)?;
        Ok(fs::write(files.authority, authority.certificate())?)
    };
    for number in 1..=NODES {
        write(&format!("node-{number}"), &authority.node(NodeId::new(number), None)?)?;
    }
    write("client", &authority.client(None)?)
}

fn files(folder: &Path, name: &str) -> CredentialsFiles {
    let file = |part: &str| folder.join(format!("{name}.{part}.pem"));
    CredentialsFiles {
        certificate: file("certificate"),
        key: file("key"),
        authority: file("authority"),
    }
}

/// Step 2, in the process of a node: it opens its replica and serves until nobody holds its standard input any more, that is until the process
/// that started it lets go of it or ends.
async fn be_a_node(number: u32, folder: &Path, addresses: &[SocketAddr]) -> Result<(), Failure> {
    let credentials = Credentials::read(&files(folder, &format!("node-{number}")))?;
    let mut node = Plimsoll::node(credentials)
        .folder(folder.join(format!("data-{number}")))
        .listen(addresses[number as usize - 1]);
    for (peer, address) in (1..).zip(addresses).filter(|(peer, _)| *peer != number) {
        node = node.peer(peer, Address::from(*address));
    }
    // It serves at once. What it can answer depends on whether it reaches a majority.
    let database = node.open().await?;
    let mut nothing = String::new();
    tokio::task::spawn_blocking(move || std::io::stdin().read_line(&mut nothing)).await??;
    // In order: the others need not wait to find out that it is gone.
    database.shutdown().await;
    Ok(())
}

/// The process of a node. It is killed when this is dropped.
struct Process(Child);

impl Process {
    /// This program again, with arguments that make it a node.
    fn start(number: u32, folder: &Path, addresses: &[SocketAddr]) -> Result<Self, Failure> {
        let child = Command::new(std::env::current_exe()?)
            .arg(number.to_string())
            .arg(folder)
            .args(addresses.iter().map(SocketAddr::to_string))
            .stdin(Stdio::piped())
            .spawn()?;
        Ok(Self(child))
    }

    fn kill(&mut self) -> Result<(), Failure> {
        self.0.kill()?;
        self.0.wait()?;
        Ok(())
    }

    fn let_go(&mut self) {
        drop(self.0.stdin.take());
    }

    fn end(mut self) -> Result<(), Failure> {
        let status = self.0.wait()?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("a node has ended with {status}").into())
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has ended cannot be killed, which is as well.
        let _ = self.kill();
    }
}

/// A handle like that on a database within this process. One node is enough: the others are learnt from it. Named are the nodes that are asked
/// first.
async fn connect(folder: &Path, nodes: &[u32], addresses: &[SocketAddr]) -> Result<Plimsoll, Failure> {
    let mut cluster = Plimsoll::remote(Credentials::read(&files(folder, "client"))?);
    for number in nodes {
        cluster = cluster.node(*number, Address::from(addresses[*number as usize - 1]));
    }
    Ok(cluster.open().await?)
}

/// Step 3: transactions. Each adds 1 and is answered with the sum; what does not come through at one node goes to another under the same id, so nothing
/// is counted twice.
async fn count(database: &Plimsoll, upto: i64) -> Result<(), Failure> {
    loop {
        let key = "counter".into();
        if database.submit(&Increment { key, amount: 1 }).await?.output >= upto {
            return Ok(());
        }
    }
}

async fn work(folder: &Path) -> Result<(), Failure> {
    make_certificates(folder)?;
    // Free ports: found by opening them, and let go of before the nodes take them.
    let sockets: Vec<UdpSocket> = (0..NODES)
        .map(|_| UdpSocket::bind("127.0.0.1:0"))
        .collect::<Result<_, _>>()?;
    let addresses: Vec<SocketAddr> = sockets.iter().map(UdpSocket::local_addr).collect::<Result<_, _>>()?;
    drop(sockets);
    let start = |number| Process::start(number, folder, &addresses);
    let mut nodes = [start(1)?, start(2)?, start(3)?];
    let database = connect(folder, &[1, 2, 3], &addresses).await?;
    count(&database, STEPS).await?;
    println!("three processes have counted to {STEPS}");

    // Step 4: the process that is asked first dies, as when a machine loses power. Two of three are a majority: after the moment in which they make
    // sure that it is gone they go on without it.
    nodes[0].kill()?;
    count(&database, 2 * STEPS).await?;
    println!("one is dead, and the others have counted on to {}", 2 * STEPS);
    nodes[0] = start(1)?;

    // Step 5: it finds its folder, fetches what it lacks, and is asked first. The read is strict: it sees everything that was answered to anybody.
    let first = connect(folder, &[1], &addresses).await?;
    let counter = first.get("counter").await?.ok_or("the counter is gone")?;
    println!("the one that was dead says {}", Operator::number(&counter)?);
    assert_eq!(
        Operator::number(&counter)?,
        2 * STEPS,
        "nothing is lost, and nothing is counted twice"
    );
    // All at once: the last of them would wait in vain for a majority to say goodbye to.
    nodes.iter_mut().for_each(Process::let_go);
    nodes.into_iter().try_for_each(Process::end)
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    if let Some(number) = arguments.next() {
        let folder = PathBuf::from(arguments.next().ok_or("a node needs a folder")?);
        let addresses: Vec<SocketAddr> = arguments.map(|address| address.parse()).collect::<Result<_, _>>()?;
        return be_a_node(number.parse()?, &folder, &addresses).await;
    }
    let folder = std::env::temp_dir().join(format!("plimsoll-cluster-{}", std::process::id()));
    fs::create_dir(&folder)?;
    let result = work(&folder).await;
    // What went wrong before is of more interest than a folder that stays.
    let _ = fs::remove_dir_all(&folder);
    result
}
