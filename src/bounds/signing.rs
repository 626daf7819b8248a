//! A key with which words are signed that clients bring back. Invariant: what is taken was signed here, or with the key that is
//! kept in the same place; a key is never seen half written.

use std::path::Path;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 16;

/// See the module.
pub struct SigningKey([u8; 32]);

impl SigningKey {
    /// This one.
    pub fn new(key: [u8; 32]) -> Self {
        Self(key)
    }

    /// One that nobody else knows.
    pub fn random() -> std::io::Result<Self> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(std::io::Error::other)?;
        Ok(Self(key))
    }

    /// The one that is kept in `folder` as `name`, made there if it is not yet: what it signs outlives a restart.
    pub fn kept_in(folder: &Path, name: &str) -> std::io::Result<Self> {
        use std::io::Write as _;
        use std::os::unix::fs::OpenOptionsExt as _;
        let path = folder.join(name);
        if let Ok(kept) = std::fs::read(&path)
            && let Ok(key) = kept.try_into()
        {
            return Ok(Self(key));
        }
        let fresh = Self::random()?;
        // Under a name of its own first: nobody may ever read half of it.
        let mut file = tempfile::Builder::new();
        let mut file = file.prefix(".key").make_in(folder, |path| {
            std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
        })?;
        file.write_all(&fresh.0)?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(fresh)
    }

    /// The one that is kept in `folder`, which is made if it is not there; where that cannot be, one for this process.
    pub fn of(folder: Option<&Path>, name: &str) -> std::io::Result<Self> {
        let kept = folder.and_then(|folder| {
            std::fs::create_dir_all(folder).ok()?;
            Self::kept_in(folder, name).ok()
        });
        kept.map_or_else(Self::random, Ok)
    }

    /// `bytes`, and their signature behind them.
    pub fn sign(&self, mut bytes: Vec<u8>) -> Vec<u8> {
        let signature = blake3::keyed_hash(&self.0, &bytes);
        bytes.extend_from_slice(&signature.as_bytes()[..SIGNATURE_BYTES]);
        bytes
    }

    /// What was signed, if it was signed here.
    pub fn verify<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        use subtle::ConstantTimeEq;
        let (said, signature) =
            bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        let wanted = blake3::keyed_hash(&self.0, said);
        let is_ours = wanted.as_bytes()[..SIGNATURE_BYTES].ct_eq(signature);
        bool::from(is_ours).then_some(said)
    }
}

#[cfg(all(test, not(evensong_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_was_signed_is_known_again_and_nothing_else() {
        let key = SigningKey::new([7; 32]);
        let signed = key.sign(b"evening".to_vec());
        assert_eq!(key.verify(&signed), Some(&b"evening"[..]));
        assert_eq!(SigningKey::new([8; 32]).verify(&signed), None);
        for at in 0..signed.len() {
            let mut forged = signed.clone();
            forged[at] ^= 1;
            assert_eq!(key.verify(&forged), None, "{at}");
        }
        for length in 0..SIGNATURE_BYTES {
            assert_eq!(key.verify(&signed[..length]), None);
        }
        assert_eq!(key.verify(&key.sign(Vec::new())), Some(&[][..]));
    }

    #[test]
    fn the_key_is_kept_and_nobody_else_reads_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let first = SigningKey::kept_in(folder.path(), "a.key").expect("made");
        let again = SigningKey::kept_in(folder.path(), "a.key").expect("read");
        let other = SigningKey::kept_in(folder.path(), "b.key").expect("made");
        assert!(first.0 == again.0 && first.0 != other.0);
        let mode = folder.path().join("a.key").metadata().expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        std::fs::write(folder.path().join("a.key"), b"half").expect("written");
        assert_ne!(SigningKey::kept_in(folder.path(), "a.key").expect("made anew").0, first.0);
    }
}
