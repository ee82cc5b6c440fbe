//! A node in this process, until it is told to stop.

pub(crate) mod config;

use std::io::IsTerminal;

use plimsoll::Plimsoll;
use plimsoll::id::NodeId;
use plimsoll::net::Caller;
use plimsoll::protocol::config::Profile;
use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::fmt;

use crate::ask::access::credentials;
use crate::command::Failure;
use config::{Config, LogForm, ProfileName};

/// Serves until SIGTERM or SIGINT comes, or the replica stops by itself.
///
/// *Errors*: it did not start, or it did not stop because it was told to.
pub(crate) fn run(config: Config) -> Result<(), Failure> {
    log_to_standard_error(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("the threads of the network cannot be started: {error}")))?;
    runtime.block_on(serve(config))
}

fn log_to_standard_error(config: &Config) -> Result<(), Failure> {
    let to = fmt()
        .with_max_level(config.log_level.filter())
        .with_writer(std::io::stderr);
    let set = match config.log {
        LogForm::Human => to.with_ansi(std::io::stderr().is_terminal()).try_init(),
        LogForm::Json => to.json().try_init(),
    };
    set.map_err(|error| Failure::Failed(format!("the log cannot be set up: {error}")))
}

/// What ends a server that is in order.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let failed = |error| Failure::Failed(format!("signals cannot be waited for: {error}"));
        Ok(Self {
            interrupt: signal(SignalKind::interrupt()).map_err(failed)?,
            terminate: signal(SignalKind::terminate()).map_err(failed)?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

async fn serve(config: Config) -> Result<(), Failure> {
    // From here on a signal is waited for, also one that comes while the folder is being read.
    let mut signals = Signals::new()?;
    let credentials = credentials(&config.credentials)?;
    let Caller::Node(own) = credentials.caller() else {
        let folder = config.credentials.display();
        let what =
            format!("{folder}: these are the credentials of a client: a node needs its own, see `plimsoll certs node`");
        return Err(Failure::Failed(what));
    };
    let mut node = Plimsoll::node(credentials)
        .folder(&config.folder)
        .listen(config.listen)
        .members(config.members.iter().copied())
        .profile(match config.profile {
            ProfileName::Lan => Profile::lan(),
            ProfileName::Wan => Profile::wan(),
        })
        .deadline(config.deadline)
        .registry(plimsoll_sim::workload::registry());
    if let Some(advertise) = &config.advertise {
        node = node.advertise(advertise.clone());
    }
    for (number, address) in config.peers.iter().filter(|(number, _)| **number != own.number()) {
        node = node.peer(*number, address.clone());
    }
    let database = tokio::select! {
        opened = node.open() => opened.map_err(|error| Failure::Failed(format!("{own} is not started: {error}")))?,
        () = signals.next() => return Ok(()),
    };
    say_that_it_serves(&database, own, &config).await?;
    tokio::select! {
        () = database.stopped() => {
            return Err(Failure::Failed(format!("{own} has stopped by itself: the log says why")));
        }
        () = signals.next() => {}
    }
    tracing::info!(node = %own, "shutting down");
    tokio::select! {
        () = database.shutdown() => Ok(()),
        () = signals.next() => Err(Failure::Failed(format!("{own} was told twice to stop, and did not wait for the others"))),
    }
}

/// One line, whatever the level of the log: whoever starts nodes waits for it.
async fn say_that_it_serves(database: &Plimsoll, own: NodeId, config: &Config) -> Result<(), Failure> {
    let members = database.members().await;
    let members = members.map_err(|error| Failure::Failed(format!("{own} has stopped at once: {error}")))?;
    let address = members.addresses.get(&own).map(ToString::to_string);
    let address = address.unwrap_or_else(|| config.listen.to_string());
    let folder = config.folder.display().to_string();
    match config.log {
        LogForm::Human => eprintln!("{own} serves at {address}, its folder is {folder}"),
        LogForm::Json => {
            let line = json!({ "message": "serves", "node": own.number(), "address": address, "folder": folder });
            eprintln!("{line}");
        }
    }
    Ok(())
}
