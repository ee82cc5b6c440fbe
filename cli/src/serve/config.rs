//! What a node is started with: flags over the environment over a file over defaults.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};
use plimsoll::net::Address;
use serde::de::Error;
use serde::{Deserialize, Deserializer};
use tracing_subscriber::filter::LevelFilter;

use crate::ask::access::{Place, node_number};
use crate::command::Failure;

/// What each key is, its default, and what it may be.
const KEYS: [(&str, &str, &str); 10] = [
    (
        "folder",
        "none, must be given",
        "Where this node keeps its files; made if there is none.",
    ),
    (
        "credentials",
        "none, must be given",
        "The folder of certificate.pem, key.pem and authority.pem; who this node is stands there.",
    ),
    (
        "listen",
        "0.0.0.0:7400",
        "The address and port (UDP) where nodes and clients reach this one; port 0 is any.",
    ),
    (
        "advertise",
        "that of listen",
        "Where the others are told that this node is. Must be given where it listens on all addresses.",
    ),
    (
        "members",
        "this node and its peers",
        "The members of the cluster's first epoch, at every node the same. A node that is not among them starts as a learner.",
    ),
    (
        "peers",
        "none",
        "Where the other nodes are, each by its number; further ones are learnt from them.",
    ),
    ("profile", "lan", "The time constants: lan or wan."),
    (
        "deadline_ms",
        "10000",
        "How long a call within this process waits for its answer, in milliseconds.",
    ),
    ("log", "human", "The form of the log on standard error: human or json."),
    (
        "log_level",
        "info",
        "What is logged: off, error, warn, info, debug or trace.",
    ),
];

/// Where a node is started from; each is also a key of the file, with `_` for `-`.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Flags {
    /// Where this node keeps its files.
    #[arg(long, value_name = "DIR", env = "PLIMSOLL_FOLDER", hide_env_values = true)]
    folder: Option<PathBuf>,
    /// The folder of certificate.pem, key.pem and authority.pem.
    #[arg(long, value_name = "DIR", env = "PLIMSOLL_CREDENTIALS", hide_env_values = true)]
    credentials: Option<PathBuf>,
    /// The address and port where others reach this node. Default: 0.0.0.0:7400
    #[arg(long, value_name = "ADDRESS:PORT", env = "PLIMSOLL_LISTEN", hide_env_values = true)]
    listen: Option<SocketAddr>,
    /// Where the others are told that this node is. Default: that of --listen
    #[arg(long, value_name = "HOST:PORT", env = "PLIMSOLL_ADVERTISE", hide_env_values = true)]
    advertise: Option<Address>,
    /// The members of the cluster's first epoch, separated by commas. Default: this node and its peers
    #[arg(long, value_name = "N,N,..", env = "PLIMSOLL_MEMBERS", hide_env_values = true)]
    #[arg(value_delimiter = ',', value_parser = node_number)]
    members: Option<Vec<u32>>,
    /// Another node and where it is, once for each; in the environment separated by commas.
    #[arg(
        long = "peer",
        value_name = "N=HOST:PORT",
        env = "PLIMSOLL_PEERS",
        hide_env_values = true
    )]
    #[arg(value_delimiter = ',')]
    peers: Option<Vec<Place>>,
    /// The time constants. Default: lan
    #[arg(long, value_enum, env = "PLIMSOLL_PROFILE", hide_env_values = true)]
    profile: Option<ProfileName>,
    /// How long a call within this process waits for its answer, in milliseconds. Default: 10000
    #[arg(long, value_name = "MS", env = "PLIMSOLL_DEADLINE_MS", hide_env_values = true)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    deadline_ms: Option<u64>,
    /// The form of the log on standard error. Default: human
    #[arg(long, value_enum, env = "PLIMSOLL_LOG", hide_env_values = true)]
    log: Option<LogForm>,
    /// What is logged. Default: info
    #[arg(long, value_enum, env = "PLIMSOLL_LOG_LEVEL", hide_env_values = true)]
    log_level: Option<LogLevel>,
}

/// What a file says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    folder: Option<PathBuf>,
    credentials: Option<PathBuf>,
    listen: Option<SocketAddr>,
    advertise: Option<Parsed<Address>>,
    members: Option<Vec<Number>>,
    peers: Option<BTreeMap<Number, Parsed<Address>>>,
    profile: Option<ProfileName>,
    deadline_ms: Option<std::num::NonZeroU64>,
    log: Option<LogForm>,
    log_level: Option<LogLevel>,
}

/// Something that is written as a string.
#[derive(Clone, Debug)]
struct Parsed<T>(T);

impl<'de, T: std::str::FromStr<Err: std::fmt::Display>> Deserialize<'de> for Parsed<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(D::Error::custom)
    }
}

/// The number of a node: an integer among the members, and the key of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Number(u32);

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl serde::de::Visitor<'_> for Visitor {
            type Value = Number;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the number of a node, from 1")
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
                self.visit_str(&number.to_string())
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                node_number(text).map(Number).map_err(E::custom)
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}

/// Time constants that there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ProfileName {
    /// Nodes within a data centre.
    #[default]
    Lan,
    /// Nodes in several regions.
    Wan,
}

/// What the log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogForm {
    /// Lines for a reader.
    #[default]
    Human,
    /// One JSON object on each line.
    Json,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum LogLevel {
    Off,
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl LogLevel {
    /// As the log takes it.
    pub(crate) fn filter(self) -> LevelFilter {
        match self {
            Self::Off => LevelFilter::OFF,
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
            Self::Trace => LevelFilter::TRACE,
        }
    }
}

/// What was said, by whomever; what was not is absent.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    folder: Option<PathBuf>,
    credentials: Option<PathBuf>,
    listen: SocketAddr,
    advertise: Option<Address>,
    members: Vec<u32>,
    peers: BTreeMap<u32, Address>,
    profile: ProfileName,
    deadline_ms: u64,
    log: LogForm,
    log_level: LogLevel,
}

/// All that a node needs to be started.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) folder: PathBuf,
    pub(crate) credentials: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) advertise: Option<Address>,
    /// Empty: this node and its peers.
    pub(crate) members: Vec<u32>,
    pub(crate) peers: BTreeMap<u32, Address>,
    pub(crate) profile: ProfileName,
    pub(crate) deadline: Duration,
    pub(crate) log: LogForm,
    pub(crate) log_level: LogLevel,
}

fn read(path: &Path) -> Result<File, Failure> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| Failure::Usage(format!("{shown}: cannot be read: {error}")))?;
    let mut file: File = toml::from_str(&text).map_err(|error| Failure::Usage(format!("{shown}: {error}")))?;
    // What stands in a file is meant from where the file is.
    let beside = path.parent().unwrap_or(Path::new(""));
    for folder in [&mut file.folder, &mut file.credentials].into_iter().flatten() {
        *folder = beside.join(&*folder);
    }
    Ok(file)
}

impl Settings {
    /// What the flags and the environment say over what the file says.
    ///
    /// *Errors*: the file cannot be read, or holds what is no setting; the message names its line.
    pub(crate) fn new(flags: Flags, path: Option<&Path>) -> Result<Self, Failure> {
        let file = path.map(read).transpose()?.unwrap_or_default();
        let numbers = |numbers: Vec<Number>| numbers.into_iter().map(|number| number.0).collect();
        let of_file = |peers: BTreeMap<Number, Parsed<Address>>| peers.into_iter().map(|(n, at)| (n.0, at.0)).collect();
        let of_flags = |peers: Vec<Place>| peers.into_iter().map(|peer| (peer.number, peer.address)).collect();
        Ok(Self {
            folder: flags.folder.or(file.folder),
            credentials: flags.credentials.or(file.credentials),
            listen: flags.listen.or(file.listen).unwrap_or(([0, 0, 0, 0], 7400).into()),
            advertise: flags.advertise.or(file.advertise.map(|address| address.0)),
            members: flags.members.or(file.members.map(numbers)).unwrap_or_default(),
            peers: flags
                .peers
                .map(of_flags)
                .or(file.peers.map(of_file))
                .unwrap_or_default(),
            profile: flags.profile.or(file.profile).unwrap_or_default(),
            deadline_ms: flags.deadline_ms.or(file.deadline_ms.map(u64::from)).unwrap_or(10_000),
            log: flags.log.or(file.log).unwrap_or_default(),
            log_level: flags.log_level.or(file.log_level).unwrap_or_default(),
        })
    }

    /// The settings as a file, each with what it is, its default and the variable that overrides it.
    pub(crate) fn file(&self) -> String {
        let mut text = String::new();
        for (key, default, what) in KEYS {
            let variable = format!("PLIMSOLL_{}", key.to_uppercase());
            let _ = writeln!(text, "# {what}\n# Default: {default}. Environment: {variable}");
            let _ = match self.value(key) {
                Some(value) => writeln!(text, "{key} = {value}\n"),
                None => writeln!(text, "# {key} =\n"),
            };
        }
        text.trim_end().to_owned() + "\n"
    }

    /// The value of a key in TOML; absent where there is none.
    fn value(&self, key: &str) -> Option<String> {
        let string = |text: String| toml::Value::String(text).to_string();
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| string(path.display().to_string()));
        fn word(value: &impl ValueEnum) -> String {
            value
                .to_possible_value()
                .map_or_else(String::new, |value| value.get_name().to_owned())
        }
        match key {
            "folder" => path(&self.folder),
            "credentials" => path(&self.credentials),
            "listen" => Some(string(self.listen.to_string())),
            "advertise" => self.advertise.as_ref().map(|address| string(address.to_string())),
            "members" => (!self.members.is_empty()).then(|| format!("{:?}", self.members)),
            "peers" => {
                let peers = self.peers.iter();
                let peers: Vec<_> = peers
                    .map(|(number, at)| format!("{number} = {}", string(at.to_string())))
                    .collect();
                (!peers.is_empty()).then(|| format!("{{ {} }}", peers.join(", ")))
            }
            "profile" => Some(string(word(&self.profile))),
            "deadline_ms" => Some(self.deadline_ms.to_string()),
            "log" => Some(string(word(&self.log))),
            "log_level" => Some(string(word(&self.log_level))),
            other => unreachable!("{other} is no key"),
        }
    }

    /// What a node is started with.
    ///
    /// *Errors*: something must be said that was not.
    pub(crate) fn complete(self) -> Result<Config, Failure> {
        let lacks = |key: &str, flag: &str| {
            let variable = key.to_uppercase();
            Failure::Usage(format!(
                "there is no {key}: give `{key}` in the file, PLIMSOLL_{variable}, or {flag}"
            ))
        };
        if self.advertise.is_none() && self.listen.ip().is_unspecified() {
            let listen = self.listen;
            return Err(Failure::Usage(format!(
                "the node listens on all addresses ({listen}), so nobody can be told where it is: give `advertise` in the file, \
                 PLIMSOLL_ADVERTISE, or --advertise with an address by which the others reach it"
            )));
        }
        Ok(Config {
            folder: self.folder.ok_or_else(|| lacks("folder", "--folder"))?,
            credentials: self.credentials.ok_or_else(|| lacks("credentials", "--credentials"))?,
            listen: self.listen,
            advertise: self.advertise,
            members: self.members,
            peers: self.peers,
            profile: self.profile,
            deadline: Duration::from_millis(self.deadline_ms),
            log: self.log,
            log_level: self.log_level,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str, flags: Flags) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.toml");
        fs::write(&path, text).unwrap();
        Settings::new(flags, Some(&path)).map_err(|failure| failure.to_string())
    }

    #[test]
    fn a_flag_is_over_the_file_and_the_file_over_the_default() {
        let flags = Flags {
            log: Some(LogForm::Json),
            ..Flags::default()
        };
        let text = "log = \"human\"\nlog_level = \"warn\"\nmembers = [1, 2]\npeers = { 2 = \"db2:7400\" }\n";
        let found = settings(text, flags).unwrap();
        assert_eq!(
            (found.log, found.log_level, found.profile),
            (LogForm::Json, LogLevel::Warn, ProfileName::Lan)
        );
        assert_eq!(found.members, [1, 2]);
        assert_eq!(found.peers, BTreeMap::from([(2, "db2:7400".parse().unwrap())]));
    }

    #[test]
    fn what_is_no_setting_is_refused_with_its_line() {
        for (text, line, what) in [
            ("\nfoldr = \"x\"", "line 2", "unknown field `foldr`"),
            ("members = [1]\nmembers = [2]", "line 2", "duplicate key"),
            ("members = [0]", "line 1", "nodes are numbered from 1"),
            ("listen = \"here\"", "line 1", "invalid socket address"),
            ("log = \"human\"\nadvertise = \"db1\"", "line 2", "is no address"),
            ("peers = { x = \"db2:7400\" }", "line 1", "`x` is no number of a node"),
            ("[peers]\n2 = \"db2\"", "line 2", "is no address"),
            ("profile = \"moon\"", "line 1", "unknown variant `moon`"),
            ("deadline_ms = 0", "line 1", "nonzero"),
        ] {
            let told = settings(text, Flags::default()).unwrap_err();
            assert!(told.contains(line) && told.contains(what), "{text}: {told}");
        }
    }

    #[test]
    fn what_is_printed_is_a_file_that_says_the_same() {
        let text = "folder = '/var/lib/\"p\"'\ncredentials = '/etc/p'\nlisten = '[::1]:7401'\nadvertise = 'db1:7401'\nmembers = [1, 3]\n\
                    peers = { 2 = 'db2:7400', 3 = '10.0.0.3:7400' }\nprofile = 'wan'\ndeadline_ms = 5\nlog = 'json'\nlog_level = 'off'\n";
        let printed = settings(text, Flags::default()).unwrap().file();
        let again = settings(&printed, Flags::default()).unwrap();
        assert_eq!(again.file(), printed);
        assert!(
            printed.contains("deadline_ms = 5") && printed.contains("PLIMSOLL_DEADLINE_MS"),
            "{printed}"
        );
        for (key, ..) in KEYS {
            assert!(again.value(key).is_some(), "{key} is lost in {printed}");
        }
        let nothing = settings("", Flags::default()).unwrap().file();
        assert!(
            nothing.contains("# folder =\n") && nothing.contains("profile = \"lan\""),
            "{nothing}"
        );
    }

    #[test]
    fn what_must_be_said_is_asked_for() {
        let told = |text: &str| {
            let settings = settings(text, Flags::default()).unwrap();
            settings.complete().unwrap_err().to_string()
        };
        assert!(told("").contains("give `advertise`"));
        assert!(told("listen = '127.0.0.1:0'").contains("there is no folder"));
        assert!(told("listen = '127.0.0.1:0'\nfolder = 'x'").contains("there is no credentials"));
    }
}
