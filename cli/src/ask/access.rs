//! How a command reaches a cluster.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use plimsoll::Plimsoll;
use plimsoll::net::{Address, Credentials, CredentialsFiles};

use crate::command::Failure;
use crate::command::certs::{AUTHORITY, CERTIFICATE, KEY};

/// Where the cluster is, and who asks.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Cluster")]
pub(crate) struct Access {
    /// The folder of the credentials to show: certificate.pem, key.pem and authority.pem, as `plimsoll certs client` makes them.
    #[arg(long, value_name = "DIR", env = "PLIMSOLL_CREDENTIALS", hide_env_values = true)]
    pub(crate) cluster: PathBuf,
    /// A node and where it is, once for each that may be asked; in the environment separated by commas. When one does not answer, another is
    /// asked.
    #[arg(
        long = "node",
        value_name = "N=HOST:PORT",
        env = "PLIMSOLL_NODES",
        hide_env_values = true
    )]
    #[arg(required = true, value_delimiter = ',')]
    pub(crate) nodes: Vec<Place>,
    /// How long to wait for an answer, in seconds. A transaction that was submitted goes on after it.
    #[arg(long, value_name = "S", default_value = "10", value_parser = crate::command::bench::seconds)]
    pub(crate) deadline: Duration,
}

/// A node and its address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Its number.
    pub(crate) number: u32,
    /// Where it is.
    pub(crate) address: Address,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, address) = text
            .split_once('=')
            .ok_or("give a node and its address, as in 1=db1.example.org:7400")?;
        let number = node_number(number)?;
        let address = address.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { number, address })
    }
}

/// The number of a node.
pub(crate) fn node_number(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(number) if number > 0 && number < u32::MAX => Ok(number),
        _ => Err(format!("`{text}` is no number of a node: nodes are numbered from 1")),
    }
}

/// The credentials in a folder.
pub(crate) fn credentials(folder: &Path) -> Result<Credentials, Failure> {
    let files = CredentialsFiles {
        certificate: folder.join(CERTIFICATE),
        key: folder.join(KEY),
        authority: folder.join(AUTHORITY),
    };
    Credentials::read(&files).map_err(|error| Failure::Failed(error.to_string()))
}

/// A handle on the cluster.
pub(crate) async fn connect(access: &Access) -> Result<Plimsoll, Failure> {
    let mut cluster = Plimsoll::remote(credentials(&access.cluster)?)
        .registry(plimsoll_sim::workload::registry())
        .deadline(access.deadline)
        // A command makes one call, which tells by itself whether the cluster answers.
        .at_once();
    for place in &access.nodes {
        cluster = cluster.node(place.number, place.address.clone());
    }
    cluster
        .open()
        .await
        .map_err(|error| Failure::Failed(format!("the cluster cannot be asked: {error}")))
}
