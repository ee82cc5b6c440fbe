//! A caller that says whatever a test wants: QUIC and TLS without the manners of the library.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use plimsoll::net::Authority;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError, Endpoint, TransportConfig};
use rustls::RootCertStore;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::site::{CLUSTER, node};

/// What an intruder has in hand.
pub(crate) struct Intruder {
    endpoint: Endpoint,
    config: ClientConfig,
}

impl Intruder {
    /// One that trusts an authority and shows a certificate, if it has one, and speaks a protocol.
    pub(crate) fn new(trusted: &Authority, shown: Option<(&str, &str)>, protocol: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_slice(trusted.certificate().as_bytes()).expect("sound parts"))
            .expect("sound parts");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .expect("sound parts")
            .with_root_certificates(roots);
        let mut tls = match shown {
            Some((certificate, key)) => {
                let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).expect("sound parts")];
                let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).expect("sound parts");
                tls.with_client_auth_cert(chain, key).expect("sound parts")
            }
            None => tls.with_no_client_auth(),
        };
        if !protocol.is_empty() {
            tls.alpn_protocols = vec![protocol.to_vec()];
        }
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(tls).expect("sound parts")));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_millis(100)));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client("127.0.0.1:0".parse().expect("sound parts")).expect("sound parts");
        Self { endpoint, config }
    }

    /// One with a certificate of the cluster: a node's if there is a number, else a client's.
    pub(crate) fn certified(authority: &Authority, number: Option<u32>) -> Self {
        let issued = match number {
            Some(number) => authority.node(node(number), None),
            None => authority.client(None),
        };
        let issued = issued.expect("sound parts");
        Self::new(authority, Some((&issued.certificate, &issued.key)), b"plimsoll/1")
    }

    pub(crate) fn begin(&self, to: u32, address: SocketAddr) -> quinn::Connecting {
        let name = format!("node-{to}.{CLUSTER}.plimsoll");
        self.endpoint
            .connect_with(self.config.clone(), address, &name)
            .expect("sound parts")
    }

    pub(crate) async fn connect(&self, to: u32, address: SocketAddr) -> Result<Connection, ConnectionError> {
        self.begin(to, address).await
    }

    /// Tries to be let in, and *gives* why it was thrown out: a caller believes itself connected before it is judged.
    pub(crate) async fn thrown_out(&self, to: u32, address: SocketAddr) -> ConnectionError {
        match self.connect(to, address).await {
            Ok(connection) => connection.closed().await,
            Err(error) => error,
        }
    }
}
