//! `certs`: the cluster's own authority, and the certificates of its nodes and clients.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use plimsoll::id::{ClusterId, NodeId};
use plimsoll::net::{Authority, IssueError, Issued};
use serde_json::json;

use super::{Answer, Failure};

/// What the files of a folder of credentials are called.
pub(crate) const CERTIFICATE: &str = "certificate.pem";
pub(crate) const KEY: &str = "key.pem";
pub(crate) const AUTHORITY: &str = "authority.pem";

const FILES: &str = "\
A folder of credentials holds:
  certificate.pem  the certificate: who this is
  key.pem          its private key, which only its owner may read (mode 0600)
  authority.pem    the certificate of the cluster's authority: whom this trusts

No file is ever overwritten. Whoever has the authority's key.pem can be any node: keep the folder of the authority off the nodes.
There is no revocation. A node is shut out by removing it from the members, and its number is never used again; all clients are shut out by
a new authority.

Exit status:
  0  the files are written
  1  they are not: a file is there already, or cannot be read or written, or is none of an authority's
  2  the arguments cannot be used; nothing was done";

#[derive(Args)]
#[command(after_help = FILES)]
pub(crate) struct CertsArguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Make all that a new cluster needs: authority/, node-1/ to node-N/ and client/ in one folder.
    All {
        /// How many nodes there are.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=31))]
        nodes: u32,
        /// The folder, made if there is none.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        life: Life,
    },
    /// Make an authority: the first thing that a new cluster needs.
    Authority {
        /// The folder, made if there is none.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// The id of the cluster, 32 hexadecimal digits. Default: drawn at random.
        #[arg(long, value_name = "ID", value_parser = cluster)]
        cluster: Option<ClusterId>,
    },
    /// Make the credentials of one node.
    Node {
        /// The number of the node. No other node of the cluster has it, or ever had.
        #[arg(value_name = "N", value_parser = clap::value_parser!(u32).range(1..i64::from(u32::MAX)))]
        number: u32,
        /// The folder of the authority.
        #[arg(long, value_name = "DIR")]
        authority: PathBuf,
        /// The folder, made if there is none.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        life: Life,
    },
    /// Make the credentials of clients. Several may share them.
    Client {
        /// The folder of the authority.
        #[arg(long, value_name = "DIR")]
        authority: PathBuf,
        /// The folder, made if there is none.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        #[command(flatten)]
        life: Life,
    },
}

#[derive(Args)]
struct Life {
    /// After how many days the certificate expires. Default: never.
    #[arg(long, value_name = "D", value_parser = clap::value_parser!(u32).range(1..=36_500))]
    days: Option<u32>,
}

impl Life {
    #[expect(clippy::disallowed_methods, reason = "days count from today")]
    fn ends(&self) -> Option<SystemTime> {
        const DAY: Duration = Duration::from_secs(86_400);
        self.days.map(|days| SystemTime::now() + DAY * days)
    }
}

fn cluster(text: &str) -> Result<ClusterId, String> {
    let is_id = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    match u128::from_str_radix(text, 16) {
        Ok(number) if is_id => Ok(ClusterId::new(number)),
        _ => Err("the id of a cluster has 32 hexadecimal digits".to_owned()),
    }
}

/// One file to be written.
struct File {
    path: PathBuf,
    text: String,
    is_secret: bool,
}

/// The three files of a folder of credentials.
fn credentials(folder: &Path, issued: Issued, authority: &Authority) -> [File; 3] {
    let file = |name: &str, text: String, is_secret| File {
        path: folder.join(name),
        text,
        is_secret,
    };
    [
        file(CERTIFICATE, issued.certificate, false),
        file(KEY, issued.key, true),
        file(AUTHORITY, authority.certificate().to_owned(), false),
    ]
}

fn authority_files(folder: &Path, authority: &Authority) -> [File; 3] {
    let issued = Issued {
        certificate: authority.certificate().to_owned(),
        key: authority.key(),
    };
    credentials(folder, issued, authority)
}

/// Makes what was asked for.
pub(crate) fn run(arguments: &CertsArguments) -> Result<Answer, Failure> {
    let (cluster, files) = match &arguments.what {
        What::All { nodes, out, life } => {
            let authority = Authority::new(new_cluster(), None).map_err(not_made)?;
            let mut files = Vec::from(authority_files(&out.join("authority"), &authority));
            for number in 1..=*nodes {
                let issued = authority.node(NodeId::new(number), life.ends()).map_err(not_made)?;
                files.extend(credentials(&out.join(format!("node-{number}")), issued, &authority));
            }
            let issued = authority.client(life.ends()).map_err(not_made)?;
            files.extend(credentials(&out.join("client"), issued, &authority));
            (authority.cluster(), files)
        }
        What::Authority { out, cluster } => {
            let authority = Authority::new(cluster.unwrap_or_else(new_cluster), None).map_err(not_made)?;
            (authority.cluster(), authority_files(out, &authority).into())
        }
        What::Node {
            number,
            authority,
            out,
            life,
        } => {
            let authority = read_authority(authority)?;
            let issued = authority.node(NodeId::new(*number), life.ends()).map_err(not_made)?;
            (authority.cluster(), credentials(out, issued, &authority).into())
        }
        What::Client { authority, out, life } => {
            let authority = read_authority(authority)?;
            let issued = authority.client(life.ends()).map_err(not_made)?;
            (authority.cluster(), credentials(out, issued, &authority).into())
        }
    };
    write_all(&files)?;
    let paths: Vec<String> = files.iter().map(|file| file.path.display().to_string()).collect();
    let mut text = format!("cluster {cluster}\n");
    text.extend(paths.iter().map(|path| format!("{path}\n")));
    Ok(Answer::new(
        text,
        json!({ "cluster": cluster.to_string(), "files": paths }),
    ))
}

fn new_cluster() -> ClusterId {
    ClusterId::new(uuid::Uuid::new_v4().as_u128())
}

fn not_made(error: IssueError) -> Failure {
    Failure::Failed(error.to_string())
}

fn read_authority(folder: &Path) -> Result<Authority, Failure> {
    let read = |name: &str| {
        let path = folder.join(name);
        fs::read_to_string(&path).map_err(|error| {
            let path = path.display();
            Failure::Failed(format!(
                "{path}: cannot be read: {error}; --authority is the folder that `plimsoll certs authority` made"
            ))
        })
    };
    Authority::from_pem(&read(CERTIFICATE)?, &read(KEY)?)
        .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))
}

/// Writes the files, none of which may be there. What is there is found before the first is written.
fn write_all(files: &[File]) -> Result<(), Failure> {
    for file in files {
        // A link that leads nowhere counts as well: it would be followed.
        if file.path.symlink_metadata().is_ok() {
            return Err(is_there(&file.path));
        }
    }
    for file in files {
        let folder = file.path.parent().expect("a file of credentials lies in a folder");
        fs::create_dir_all(folder).map_err(|error| unwritable(folder, &error))?;
        write(file).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => is_there(&file.path),
            _ => unwritable(&file.path, &error),
        })?;
    }
    Ok(())
}

fn write(file: &File) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    if file.is_secret {
        use std::os::unix::fs::OpenOptionsExt;
        // From the beginning: there is no instant at which others can open it.
        options.mode(0o600);
    }
    #[cfg(not(unix))]
    let _ = file.is_secret;
    let mut out = options.open(&file.path)?;
    out.write_all(file.text.as_bytes())?;
    out.sync_all()
}

fn is_there(path: &Path) -> Failure {
    Failure::Failed(format!(
        "{} is there already, and is not overwritten: choose another folder, or remove it if no node or client uses it",
        path.display()
    ))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::Failed(format!("{}: cannot be written: {error}", path.display()))
}
