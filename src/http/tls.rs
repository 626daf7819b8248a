//! TLS from a certificate and a key in PEM files. Invariant: what was read last and was good is in
//! force; a file that is not leaves it so. A connection holds no more than its part of the plan.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::NoServerSessionStorage;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::limits::TLS_BUFFER_BYTES;

/// Where certificate and key are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and those between it and the authority's.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What can be wrong with them.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not PEM of its kind.
    #[error("{}: {reason}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What would do.
        reason: String,
    },
    /// Both can be read, and do not go together.
    #[error("{} and {}: {source}", .files.cert.display(), .files.key.display())]
    Pair {
        /// Which.
        files: TlsFiles,
        /// Why not.
        source: rustls::Error,
    },
}

/// Speaks TLS on accepted connections. Clones share it.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: TlsFiles,
    config: RwLock<Arc<ServerConfig>>,
}

impl Tls {
    /// Reads the files.
    pub fn new(files: TlsFiles) -> Result<Self, TlsError> {
        let config = RwLock::new(read(&files)?);
        Ok(Self(Arc::new(Inner { files, config })))
    }

    /// Reads the files again, for the connections to come.
    pub fn reload(&self) -> Result<(), TlsError> {
        let config = read(&self.0.files)?;
        *self.0.config.write().unwrap_or_else(PoisonError::into_inner) = config;
        Ok(())
    }

    /// The handshake.
    pub async fn accept<S>(&self, stream: S) -> std::io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = Arc::clone(&self.0.config.read().unwrap_or_else(PoisonError::into_inner));
        let limit = |connection: &mut rustls::ServerConnection| {
            connection.set_buffer_limit(Some(TLS_BUFFER_BYTES));
        };
        TlsAcceptor::from(config).accept_with(stream, limit).await
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let bad = |file: &Path, reason: String| TlsError::File { file: file.into(), reason };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| bad(&files.cert, error.to_string()))?;
    if chain.is_empty() {
        return Err(bad(
            &files.cert,
            "no certificate in it, which would begin with \
                                     -----BEGIN CERTIFICATE-----"
                .into(),
        ));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| bad(&files.key, format!("no private key in it: {error}")))?;
    let pair = |source| TlsError::Pair { files: files.clone(), source };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    // Tickets that the client keeps, instead of sessions that we would.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = rustls::crypto::ring::Ticketer::new().map_err(pair)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_with_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = || rcgen::generate_simple_self_signed(["localhost".into()]).expect("made");
        let write = |name: &str, text: &str| {
            let file = folder.path().join(name);
            std::fs::write(&file, text).expect("written");
            file
        };
        let (one, other) = (made(), made());
        let cert = write("cert.pem", &one.cert.pem());
        let key = write("key.pem", &one.signing_key.serialize_pem());
        let others = write("other.pem", &other.signing_key.serialize_pem());
        let nothing = write("empty.pem", "");
        let tls = |cert: &Path, key: &Path| {
            let files = TlsFiles { cert: cert.into(), key: key.into() };
            Tls::new(files).map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(tls(&cert, &key), Ok(()));
        for (cert, key, said) in [
            (Path::new("/nowhere"), &*key, "/nowhere"),
            (&*nothing, &*key, "no certificate"),
            (&*cert, &*nothing, "no private key"),
            (&*cert, &*cert, "no private key"),
            (&*cert, &*others, "key.pem and"),
        ] {
            let error = tls(cert, key).expect_err("is bad");
            assert!(error.contains(said) || error.contains("Mismatch"), "{error}");
        }
    }
}
