//! What a node or client shows of itself, and whom it trusts: a certificate, its key, and the authority's certificate.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::name::{Caller, Name, Subject};
use crate::id::ClusterId;

/// The three parts of [`Credentials`], as errors name them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Part {
    /// The certificate that is shown.
    Certificate,
    /// Its private key.
    Key,
    /// The certificate of the authority that is trusted.
    Authority,
}

impl Part {
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Certificate => (
                "the certificate",
                "give the PEM certificate that was made for this node or client",
            ),
            Self::Key => (
                "the private key",
                "give the PEM key that was made together with the certificate",
            ),
            Self::Authority => (
                "the authority's certificate",
                "give the PEM certificate of the cluster's authority",
            ),
        }
    }
}

/// Why credentials are unusable. Nothing was opened.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialsError {
    /// A file cannot be read.
    #[error("{path}: cannot be read: {source}; it should hold {}", .part.words().0)]
    File {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        part: Part,
        /// What the system says.
        source: Arc<io::Error>,
    },
    /// A part is not what it should be.
    #[error("{origin}{} is unusable: {reason}; {}", .part.words().0, .part.words().1)]
    Unusable {
        /// The file, with a colon and a blank; empty for what came from memory.
        origin: String,
        /// Which part.
        part: Part,
        /// What is wrong with it.
        reason: String,
    },
    /// The certificate and the authority are of two clusters.
    #[error(
        "the certificate is of the cluster {certificate}, but the authority of {authority}: give files of one cluster"
    )]
    TwoClusters {
        /// The cluster in the certificate's name.
        certificate: ClusterId,
        /// The cluster in the authority's name.
        authority: ClusterId,
    },
}

/// The files that hold [`Credentials`], each as PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialsFiles {
    /// The certificate that is shown.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The certificate of the authority that is trusted.
    pub authority: PathBuf,
}

/// What a node or client shows of itself, and whom it trusts.
///
/// What they are for is read from the certificate: [`Credentials::caller`]. That the key belongs to the certificate and the
/// certificate to the authority is checked when an [`Endpoint`](super::Endpoint) is opened with them.
#[derive(Debug)]
pub struct Credentials {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) authority: CertificateDer<'static>,
    cluster: ClusterId,
    caller: Caller,
}

impl Clone for Credentials {
    fn clone(&self) -> Self {
        Self {
            chain: self.chain.clone(),
            key: self.key.clone_key(),
            authority: self.authority.clone(),
            cluster: self.cluster,
            caller: self.caller,
        }
    }
}

impl Credentials {
    /// The credentials in three files.
    ///
    /// *Errors*: a file cannot be read or is not what it should be; the error names the file and says what to do.
    pub fn read(files: &CredentialsFiles) -> Result<Self, CredentialsError> {
        let certificate = text(&files.certificate, Part::Certificate)?;
        let key = text(&files.key, Part::Key)?;
        let authority = text(&files.authority, Part::Authority)?;
        Self::from_pem(&certificate, &key, &authority).map_err(|error| match error {
            CredentialsError::Unusable { part, reason, .. } => {
                let path = match part {
                    Part::Certificate => &files.certificate,
                    Part::Key => &files.key,
                    Part::Authority => &files.authority,
                };
                let origin = format!("{}: ", path.display());
                CredentialsError::Unusable { origin, part, reason }
            }
            other => other,
        })
    }

    /// The credentials in three PEM texts.
    ///
    /// *Errors*: a text is not what it should be, or they are not of one cluster.
    pub fn from_pem(certificate: &str, key: &str, authority: &str) -> Result<Self, CredentialsError> {
        let chain = certificates(certificate, Part::Certificate)?;
        let own = Name::read(&chain[0]).map_err(|reason| unusable(Part::Certificate, reason))?;
        let Subject::Caller(caller) = own.subject else {
            return Err(unusable(
                Part::Certificate,
                "it is an authority's, not a node's or a client's".to_owned(),
            ));
        };
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| {
            let reason = match error {
                pem::Error::NoItemsFound => "there is no private key in it".to_owned(),
                other => format!("it is no PEM: {other}"),
            };
            unusable(Part::Key, reason)
        })?;
        let authorities = certificates(authority, Part::Authority)?;
        let [authority] = <[_; 1]>::try_from(authorities).map_err(|several| {
            let reason = format!("it holds {} certificates, where exactly one is trusted", several.len());
            unusable(Part::Authority, reason)
        })?;
        let trusted = Name::read(&authority).map_err(|reason| unusable(Part::Authority, reason))?;
        if trusted.subject != Subject::Authority {
            return Err(unusable(
                Part::Authority,
                format!("it is that of {trusted}, not an authority's"),
            ));
        }
        if trusted.cluster != own.cluster {
            return Err(CredentialsError::TwoClusters {
                certificate: own.cluster,
                authority: trusted.cluster,
            });
        }
        Ok(Self {
            chain,
            key,
            authority,
            cluster: own.cluster,
            caller,
        })
    }

    /// The cluster that they are of.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Whom they are for.
    pub fn caller(&self) -> Caller {
        self.caller
    }
}

fn unusable(part: Part, reason: String) -> CredentialsError {
    let origin = String::new();
    CredentialsError::Unusable { origin, part, reason }
}

fn text(path: &Path, part: Part) -> Result<String, CredentialsError> {
    std::fs::read_to_string(path).map_err(|error| CredentialsError::File {
        path: path.to_owned(),
        part,
        source: Arc::new(error),
    })
}

/// The certificates in a PEM text, at least one.
fn certificates(text: &str, part: Part) -> Result<Vec<CertificateDer<'static>>, CredentialsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    let found = found.map_err(|error| unusable(part, format!("it is no PEM: {error}")))?;
    if found.is_empty() {
        return Err(unusable(part, "there is no certificate in it".to_owned()));
    }
    Ok(found)
}
