//! TLS towards upstreams. Invariant: the system's authorities are read once, when the first upstream that needs them
//! is built (a quarter of a second), and shared by every client and generation.

use std::sync::{Arc, OnceLock};

use rustls::ClientConfig;
use rustls_platform_verifier::BuilderVerifierExt;

/// Reads them at most once. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tls(Arc<OnceLock<Result<Arc<ClientConfig>, String>>>);

impl Tls {
    /// The configuration, without any protocol to be agreed on: HTTP/1.1. May block.
    pub fn config(&self) -> Result<Arc<ClientConfig>, String> {
        self.0.get_or_init(read).clone()
    }

    /// As [`Tls::config`], and HTTP/2 is offered as well.
    pub fn with_http2(&self) -> Result<ClientConfig, String> {
        let mut config = ClientConfig::clone(&*self.config()?);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }

    /// For an upstream that is never asked over TLS: it trusts nobody.
    pub fn none() -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has ciphers for them")
            .with_root_certificates(rustls::RootCertStore::empty())
            .with_no_client_auth()
    }
}

fn read() -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .and_then(BuilderVerifierExt::with_platform_verifier)
        .map_err(|error| format!("the system's certificates cannot be read: {error}"))?;
    Ok(Arc::new(config.with_no_client_auth()))
}
