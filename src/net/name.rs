//! Who a connection comes from, by the names in its certificate and by nothing else.
//!
//! A certificate of the cluster bears exactly one name: `node-<number>.<cluster>.plimsoll`, `client.<cluster>.plimsoll`, or, of the
//! authority itself, `authority.<cluster>.plimsoll`; the cluster's id stands there in 32 digits of lower-case hex.

use std::fmt;

use rustls_pki_types::CertificateDer;

use crate::id::{ClusterId, NodeId};

/// The last label of every name.
const SUFFIX: &str = "plimsoll";

/// Who is at the other end of a connection, as its certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Caller {
    /// A node of the cluster.
    Node(NodeId),
    /// A client of the cluster. Which one, nobody knows.
    Client,
}

impl fmt::Display for Caller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => node.fmt(f),
            Self::Client => f.write_str("a client"),
        }
    }
}

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Subject {
    Caller(Caller),
    Authority,
}

/// A subject and the cluster that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) cluster: ClusterId,
    pub(super) subject: Subject,
}

impl Name {
    pub(super) fn of_node(cluster: ClusterId, node: NodeId) -> Self {
        let subject = Subject::Caller(Caller::Node(node));
        Self { cluster, subject }
    }

    /// The name in a certificate.
    ///
    /// *Errors*: what is wrong with the certificate, in words.
    pub(super) fn read(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let parsed =
            webpki::EndEntityCert::try_from(certificate).map_err(|error| format!("it cannot be read: {error}"))?;
        let names: Vec<&str> = parsed.valid_dns_names().collect();
        match names.as_slice() {
            [name] => Self::parse(name).ok_or_else(|| format!("its name, {name:?}, is none of a Plimsoll cluster's")),
            _ => Err(format!("it bears {} names, where exactly one is expected", names.len())),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let mut labels = name.split('.');
        let (subject, cluster, suffix) = (labels.next()?, labels.next()?, labels.next()?);
        if labels.next().is_some() || suffix != SUFFIX {
            return None;
        }
        let subject = match subject {
            "authority" => Subject::Authority,
            "client" => Subject::Caller(Caller::Client),
            _ => {
                let number = subject.strip_prefix("node-")?.parse().ok()?;
                Subject::Caller(Caller::Node(NodeId::new(number)))
            }
        };
        let cluster = ClusterId::new(u128::from_str_radix(cluster, 16).ok()?);
        let parsed = Self { cluster, subject };
        // One spelling for each name: no sign, no leading zero, no capital.
        (parsed.to_string() == name).then_some(parsed)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.cluster;
        match self.subject {
            Subject::Authority => write!(f, "authority.{cluster}.{SUFFIX}"),
            Subject::Caller(Caller::Client) => write!(f, "client.{cluster}.{SUFFIX}"),
            Subject::Caller(Caller::Node(node)) => write!(f, "node-{}.{cluster}.{SUFFIX}", node.number()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_one_spelling() {
        let cluster = ClusterId::new(0xabc);
        let subjects = [
            Subject::Authority,
            Subject::Caller(Caller::Client),
            Subject::Caller(Caller::Node(NodeId::new(0))),
            Subject::Caller(Caller::Node(NodeId::MAX)),
        ];
        for subject in subjects {
            let name = Name { cluster, subject };
            assert_eq!(Name::parse(&name.to_string()), Some(name));
        }
        let cluster = "00000000000000000000000000000abc";
        for other in [
            format!("node-01.{cluster}.plimsoll"),
            format!("node-+1.{cluster}.plimsoll"),
            format!("node-4294967296.{cluster}.plimsoll"),
            format!("node-.{cluster}.plimsoll"),
            format!("node-1.{cluster}.plimsoll.org"),
            format!("node-1.{cluster}"),
            format!("x.node-1.{cluster}.plimsoll"),
            format!("Client.{cluster}.plimsoll"),
            "client.abc.plimsoll".to_owned(),
            "client.00000000000000000000000000000ABC.plimsoll".to_owned(),
            String::new(),
        ] {
            assert_eq!(Name::parse(&other), None, "{other}");
        }
    }
}
