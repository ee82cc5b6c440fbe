//! TLS 1.3 in both directions: what is shown, what is believed, and the count of what is not.
//!
//! One provider of cryptography, ring, named outright so that another crate's choice of a default cannot change it. No
//! tickets, no resumption, no early data: every connection shows its certificates anew.

use std::sync::Arc;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::credentials::Credentials;
use super::name::{Caller, Name, Subject};
use super::refused::{Cause, Refusals};
use crate::id::ClusterId;

/// What two ends must have in common: changed when one of a release cannot talk to one of the next.
pub(super) const PROTOCOL: &[u8] = b"plimsoll/1";

/// The configurations of both directions; only a node has one for accepting.
pub(super) struct Configs {
    pub(super) accepting: Option<QuicServerConfig>,
    pub(super) calling: QuicClientConfig,
}

/// The configurations of TLS.
///
/// *Errors*: what does not fit together, in words.
pub(super) fn configure(credentials: &Credentials, refusals: &Arc<Refusals>) -> Result<Configs, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    let authority = credentials.authority.clone();
    roots
        .add(authority)
        .map_err(|error| format!("the authority's certificate cannot be trusted: {error}"))?;
    let roots = Arc::new(roots);
    let believer = Believer {
        cluster: credentials.cluster(),
        refusals: Arc::clone(refusals),
    };
    let accepting = match credentials.caller() {
        Caller::Node(_) => Some(accepting(credentials, &provider, &roots, believer.clone())?),
        Caller::Client => None,
    };
    let calling = calling(credentials, &provider, &roots, believer)?;
    Ok(Configs { accepting, calling })
}

fn accepting(
    credentials: &Credentials,
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    believer: Believer,
) -> Result<QuicServerConfig, String> {
    let inner = WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .build()
        .map_err(|error| format!("callers cannot be verified: {error}"))?;
    let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_client_cert_verifier(Arc::new(CallerVerifier { inner, believer }))
        .with_single_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(unfit)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    QuicServerConfig::try_from(config).map_err(|error| error.to_string())
}

fn calling(
    credentials: &Credentials,
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    believer: Believer,
) -> Result<QuicClientConfig, String> {
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
        .build()
        .map_err(|error| format!("nodes cannot be verified: {error}"))?;
    let mut config = rustls::ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NodeVerifier { inner, believer }))
        .with_client_auth_cert(credentials.chain.clone(), credentials.key.clone_key())
        .map_err(unfit)?;
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    QuicClientConfig::try_from(config).map_err(|error| error.to_string())
}

fn unfit(error: Error) -> String {
    format!("the certificate and its private key cannot be used together: {error}")
}

/// What is asked of a certificate beyond its signature, and the count of what is not believed.
#[derive(Clone, Debug)]
struct Believer {
    cluster: ClusterId,
    refusals: Arc<Refusals>,
}

impl Believer {
    fn refuse(&self, cause: Cause, error: Error) -> Error {
        tracing::debug!(?cause, %error, "a certificate is refused");
        self.refusals.count(cause);
        error
    }

    /// Whom a certificate of the authority is for.
    fn caller(&self, certificate: &CertificateDer<'_>) -> Result<Caller, Error> {
        caller_of(self.cluster, certificate).map_err(|_| {
            let error = Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure);
            self.refuse(Cause::ForeignName, error)
        })
    }
}

/// Whom a certificate is for, if it is for anybody of the cluster.
pub(super) fn caller_of(cluster: ClusterId, certificate: &CertificateDer<'_>) -> Result<Caller, String> {
    let name = Name::read(certificate)?;
    match name.subject {
        Subject::Caller(caller) if name.cluster == cluster => Ok(caller),
        _ => Err(format!("{name} is no caller of the cluster {cluster}")),
    }
}

/// Verifies who calls.
#[derive(Debug)]
struct CallerVerifier {
    inner: Arc<dyn ClientCertVerifier>,
    believer: Believer,
}

impl ClientCertVerifier for CallerVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now);
        let verified = verified.map_err(|error| self.believer.refuse(Cause::ForeignCertificate, error))?;
        self.believer.caller(end_entity)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.inner.verify_tls13_signature(message, cert, dss);
        // A certificate shown by one who has not its key.
        verified.map_err(|error| self.believer.refuse(Cause::ForeignCertificate, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Verifies that the node that was called answers.
#[derive(Debug)]
struct NodeVerifier {
    inner: Arc<WebPkiServerVerifier>,
    believer: Believer,
}

impl ServerCertVerifier for NodeVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .inner
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        verified.map_err(|error| {
            let is_named_otherwise = matches!(
                error,
                Error::InvalidCertificate(
                    CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
                )
            );
            if !is_named_otherwise {
                return self.believer.refuse(Cause::ForeignCertificate, error);
            }
            match self.believer.caller(end_entity) {
                Ok(_) => self.believer.refuse(Cause::WrongNode, error),
                Err(refused) => refused,
            }
        })
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let verified = self.inner.verify_tls13_signature(message, cert, dss);
        // A certificate shown by one who has not its key.
        verified.map_err(|error| self.believer.refuse(Cause::ForeignCertificate, error))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
