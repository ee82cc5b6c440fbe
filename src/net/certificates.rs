//! The cluster's own certificate authority, and what it signs.
//!
//! Realises section 6 of the design. Everything is bound to the cluster's id: it stands in the authority's name and in the name of
//! each certificate, so that another cluster's certificate is refused by name as well as by signature. There is no
//! revocation: a node's id is never used again, so a node is shut out by removing it from the cluster, and all clients by a new authority.

use std::time::{SystemTime, UNIX_EPOCH};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::name::{Caller, Name, Subject};
use crate::id::{ClusterId, NodeId};

/// The certificate authority of one cluster. Whoever holds its key can be any node: keep it off the nodes.
///
/// ```
/// use plimsoll::id::{ClusterId, NodeId};
/// use plimsoll::net::{Authority, Caller, Credentials};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let authority = Authority::new(ClusterId::new(7), None)?;
/// let node = authority.node(NodeId::new(1), None)?;
/// let credentials = Credentials::from_pem(&node.certificate, &node.key, authority.certificate())?;
/// assert_eq!(credentials.caller(), Caller::Node(NodeId::new(1)));
/// # Ok(())
/// # }
/// ```
pub struct Authority {
    cluster: ClusterId,
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its private key, both as PEM.
#[derive(Clone)]
pub struct Issued {
    /// The certificate. It is no secret.
    pub certificate: String,
    /// The private key, PKCS #8. Only the node or client that it is for may read it.
    pub key: String,
}

/// Why no certificate was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssueError {
    /// The machine gives no entropy, or the time of expiry has no encoding.
    #[error("the certificate cannot be made: {0}")]
    NotMade(String),
    /// The certificate given as the authority's is none.
    #[error("the authority's certificate is unusable: {0}; give the one that was made with the cluster")]
    Certificate(String),
    /// The key given as the authority's is none.
    #[error("the authority's key is unusable: {0}; give the PKCS #8 PEM that was made with its certificate")]
    Key(String),
    /// Certificate and key were not made together.
    #[error("the authority's certificate and key do not belong together: give the two that were made with the cluster")]
    Mismatch,
}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self::NotMade(error.to_string())
    }
}

impl Authority {
    /// A new authority, with a new key.
    ///
    /// *Given* the cluster that it is for, and when its certificate expires. With none it never does: a cluster that nobody
    /// has tended for years starts again.
    ///
    /// *Errors*: the machine gives no entropy.
    pub fn new(cluster: ClusterId, expires: Option<SystemTime>) -> Result<Self, IssueError> {
        let key = KeyPair::generate()?;
        let mut parameters = Self::parameters(cluster)?;
        set_expiry(&mut parameters, expires)?;
        let certificate = parameters.self_signed(&key)?.pem();
        let issuer = Issuer::new(parameters, key);
        Ok(Self {
            cluster,
            certificate,
            issuer,
        })
    }

    /// The authority whose certificate and key were kept as PEM: for adding a node to a cluster that is there.
    ///
    /// *Errors*: one of the two is none of a Plimsoll authority's, or they do not belong together.
    pub fn from_pem(certificate: &str, key: &str) -> Result<Self, IssueError> {
        let unusable = |why: String| IssueError::Certificate(why);
        let der = CertificateDer::from_pem_slice(certificate.as_bytes())
            .map_err(|error| unusable(format!("it is no PEM certificate: {error}")))?;
        let name = Name::read(&der).map_err(unusable)?;
        if name.subject != Subject::Authority {
            return Err(unusable(format!("it is that of {name}, not an authority's")));
        }
        let key = KeyPair::from_pem(key).map_err(|error| IssueError::Key(error.to_string()))?;
        let parsed = webpki::EndEntityCert::try_from(&der).map_err(|error| unusable(error.to_string()))?;
        let spki = parsed.subject_public_key_info();
        // The bits of the key end the structure that holds it.
        if !spki.ends_with(key.public_key_raw()) {
            return Err(IssueError::Mismatch);
        }
        Ok(Self {
            cluster: name.cluster,
            certificate: certificate.to_owned(),
            issuer: Issuer::new(Self::parameters(name.cluster)?, key),
        })
    }

    /// The cluster that it signs for.
    pub fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// Its certificate as PEM: what every node and client trusts.
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// Its private key as PEM, PKCS #8.
    pub fn key(&self) -> String {
        self.issuer.key().serialize_pem()
    }

    /// A certificate for a node, which both accepts and makes connections with it.
    ///
    /// *Given* an id that no other node has or had, and when the certificate expires, if ever.
    ///
    /// *Errors*: the machine gives no entropy, or the time of expiry lies outside the years 1970 to 9999.
    pub fn node(&self, node: NodeId, expires: Option<SystemTime>) -> Result<Issued, IssueError> {
        let both = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        self.issue(Caller::Node(node), both, expires)
    }

    /// A certificate for clients, which make connections with it and can accept none. Several may share it.
    ///
    /// *Errors* as [`Authority::node`].
    pub fn client(&self, expires: Option<SystemTime>) -> Result<Issued, IssueError> {
        self.issue(Caller::Client, vec![ExtendedKeyUsagePurpose::ClientAuth], expires)
    }

    /// What the authority's certificate says beside its key. What it signs names it by this alone, so nothing needs to be read back.
    fn parameters(cluster: ClusterId) -> Result<CertificateParams, IssueError> {
        let subject = Subject::Authority;
        let mut parameters = CertificateParams::new([Name { cluster, subject }.to_string()])?;
        parameters.distinguished_name = DistinguishedName::new();
        let name = format!("Plimsoll cluster {cluster}");
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        Ok(parameters)
    }

    fn issue(
        &self,
        caller: Caller,
        uses: Vec<ExtendedKeyUsagePurpose>,
        expires: Option<SystemTime>,
    ) -> Result<Issued, IssueError> {
        let name = Name {
            cluster: self.cluster,
            subject: Subject::Caller(caller),
        };
        let mut parameters = CertificateParams::new([name.to_string()])?;
        parameters.distinguished_name = DistinguishedName::new();
        parameters
            .distinguished_name
            .push(DnType::CommonName, caller.to_string());
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = uses;
        parameters.use_authority_key_identifier_extension = true;
        set_expiry(&mut parameters, expires)?;
        let key = KeyPair::generate()?;
        let certificate = parameters.signed_by(&key, &self.issuer)?.pem();
        let key = key.serialize_pem();
        Ok(Issued { certificate, key })
    }
}

/// Sets when a certificate ends; with none it stays as good as for ever.
fn set_expiry(parameters: &mut CertificateParams, expires: Option<SystemTime>) -> Result<(), IssueError> {
    let Some(expires) = expires else { return Ok(()) };
    /// The seconds from 1970 to the year 10,000, which certificates cannot name.
    const SECONDS_MAX: u64 = 253_402_300_800;
    let since = expires.duration_since(UNIX_EPOCH).ok();
    let since = since
        .filter(|since| since.as_secs() < SECONDS_MAX)
        .ok_or_else(|| IssueError::NotMade("it would expire outside the years 1970 to 9999".to_owned()))?;
    parameters.not_after = rcgen::date_time_ymd(1970, 1, 1) + since;
    Ok(())
}
