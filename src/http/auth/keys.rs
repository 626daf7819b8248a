//! API keys in a file. Invariant: a key itself is nowhere but with who was given it: the file and
//! the server know its hash, and no log, error or debug output shows more than its name.
//!
//! A key is 256 random bits, so a plain hash is as good as a slow one: nobody guesses it, and there
//! is no list of common ones to try.

use std::collections::HashSet;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use subtle::{ConditionallySelectable, ConstantTimeEq};

use super::{Principal, Scope};
use crate::http::limit::{Rates, is_unset};
use crate::limits::{KEY_NAME_BYTES, KEYS_MOST};

/// By this a key is known as one of ours, in a leak scanner as well.
const PREFIX: &str = "evs_";
/// BLAKE3's key derivation keeps our hashes apart from everybody else's of the same text.
const CONTEXT: &str = "evensong 2026-11 api key";

/// What can be wrong with a file of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It cannot be read or written.
    #[error("{}: {why}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// A server or a list wants it, and it is not there.
    #[error("{} is not there; `evensong keys add NAME` makes it", .file.display())]
    Missing {
        /// Which.
        file: PathBuf,
    },
    /// It is not the TOML expected.
    #[error("{}: {why}", .file.display())]
    Syntax {
        /// Which.
        file: PathBuf,
        /// Where and why.
        why: Box<toml::de::Error>,
    },
    /// One of its keys is not right.
    #[error("{}: key '{name}': {reason}", .file.display())]
    Record {
        /// Which file.
        file: PathBuf,
        /// Which key.
        name: String,
        /// What would do.
        reason: String,
    },
}

/// One key as it stands in the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// For people; unique.
    pub name: String,
    /// `blake3:` and 64 hexadecimal digits.
    pub hash: String,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// RFC 3339.
    pub created: String,
    /// Its own limits a minute; what is not named is as configured, 0 is none.
    #[serde(default, rename = "limits", skip_serializing_if = "is_unset")]
    pub rates: Rates<Option<u32>>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    key: Vec<Record>,
}

/// The keys of a file, ready to be asked.
#[derive(Debug)]
pub struct Keys(Vec<(Hash, Arc<Principal>)>);

type Hash = [u8; 32];

impl Keys {
    /// Reads and checks a file.
    pub fn read(file: &Path) -> Result<Self, KeysError> {
        let records = records(file)?;
        let key = |record: Record| {
            let hash = unhex(&record.hash).ok_or_else(|| {
                wrong(file, &record.name, "its hash is not blake3: and 64 hexadecimal digits")
            })?;
            let id = record.hash.trim_start_matches(HASH_KIND)[..16].into();
            let (name, scopes) = (record.name.as_str().into(), record.scopes);
            let principal = Principal { id, name, scopes, rates: record.rates, keyless: false };
            Ok((hash, Arc::new(principal)))
        };
        Ok(Self(records.into_iter().map(key).collect::<Result<_, _>>()?))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none, so that nobody is let in.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a principal's key is still among them.
    pub fn knows(&self, id: &str) -> bool {
        self.0.iter().any(|(_, principal)| *principal.id == *id)
    }

    /// Whose key `presented` is. Every key is compared whole, so that the time tells nothing.
    pub fn verify(&self, presented: &str) -> Option<Arc<Principal>> {
        let hash = hash(presented);
        let mut found = u32::MAX;
        for (at, (known, _)) in (0u32..).zip(&self.0) {
            found.conditional_assign(&at, known.ct_eq(&hash));
        }
        self.0.get(found as usize).map(|(_, principal)| Arc::clone(principal))
    }
}

const HASH_KIND: &str = "blake3:";

fn hash(key: &str) -> Hash {
    blake3::derive_key(CONTEXT, key.as_bytes())
}

fn unhex(text: &str) -> Option<Hash> {
    let digits = text.strip_prefix(HASH_KIND)?;
    blake3::Hash::from_hex(digits).ok().map(|hash| *hash.as_bytes())
}

/// The keys of `file` as they stand in it.
pub fn records(file: &Path) -> Result<Vec<Record>, KeysError> {
    let text = std::fs::read_to_string(file).map_err(|why| match why.kind() {
        std::io::ErrorKind::NotFound => KeysError::Missing { file: file.into() },
        _ => KeysError::File { file: file.into(), why },
    })?;
    let read: File = toml::from_str(&text)
        .map_err(|why| KeysError::Syntax { file: file.into(), why: Box::new(why) })?;
    let mut names = HashSet::new();
    for record in &read.key {
        if !names.insert(record.name.as_str()) {
            return Err(wrong(file, &record.name, "stands twice"));
        }
    }
    if read.key.len() > KEYS_MOST {
        return Err(wrong(file, &read.key[KEYS_MOST].name, &format!("more than {KEYS_MOST} keys")));
    }
    Ok(read.key)
}

/// Makes a key, adds its hash to `file` (which is made where there is none), and gives the key.
pub fn add(
    file: &Path,
    name: &str,
    scopes: &[Scope],
    rates: Rates<Option<u32>>,
    created: &str,
) -> Result<String, KeysError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > KEY_NAME_BYTES || !name.chars().all(plain) {
        let reason = format!("a name is 1 to {KEY_NAME_BYTES} letters, digits, '-', '_' and '.'");
        return Err(wrong(file, name, &reason));
    }
    let mut bits = [0; 32];
    getrandom::fill(&mut bits).map_err(|error| {
        let why = std::io::Error::other(error.to_string());
        KeysError::File { file: file.into(), why }
    })?;
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(bits));
    let digest = blake3::Hash::from_bytes(hash(&key)).to_hex();
    let hash = format!("{HASH_KIND}{digest}");
    let (scopes, created) = (scopes.to_vec(), created.to_string());
    change(file, true, |records| {
        if records.iter().any(|record| record.name == name) {
            return Err("is there already; revoke it first, or take another name".into());
        }
        if records.len() >= KEYS_MOST {
            return Err(format!("there are {KEYS_MOST} keys already"));
        }
        records.push(Record { name: name.into(), hash, scopes, created, rates });
        Ok(())
    })
    .map_err(|error| error.of(file, name))?;
    Ok(key)
}

/// Strikes the key of this name from `file`.
pub fn revoke(file: &Path, name: &str) -> Result<(), KeysError> {
    change(file, false, |records| {
        let before = records.len();
        records.retain(|record| record.name != name);
        if records.len() < before { Ok(()) } else { Err("there is no key of this name".into()) }
    })
    .map_err(|error| error.of(file, name))
}

enum Change {
    Refused(String),
    Failed(KeysError),
}

impl Change {
    fn of(self, file: &Path, name: &str) -> KeysError {
        match self {
            Change::Refused(reason) => wrong(file, name, &reason),
            Change::Failed(error) => error,
        }
    }
}

/// Changes the file as one step: two who do it at once wait for each other, and a reader sees it as
/// it was or as it will be.
fn change(
    file: &Path,
    create: bool,
    edit: impl FnOnce(&mut Vec<Record>) -> Result<(), String>,
) -> Result<(), Change> {
    let fail = |why| Change::Failed(KeysError::File { file: file.into(), why });
    // A link stays one: what it leads to is changed.
    let file = &file.canonicalize().unwrap_or_else(|_| file.into());
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    if create {
        std::fs::create_dir_all(folder).map_err(fail)?;
    }
    let held = std::fs::File::open(folder).map_err(fail)?;
    rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive)
        .map_err(|error| fail(error.into()))?;
    let mut records = match records(file) {
        Err(KeysError::Missing { .. }) if create => Vec::new(),
        read => read.map_err(Change::Failed)?,
    };
    edit(&mut records).map_err(Change::Refused)?;
    let text = toml::to_string(&File { key: records })
        .map_err(|error| fail(std::io::Error::other(error)))?;
    let write = || -> std::io::Result<()> {
        // Only the owner may read what tempfile makes, and so it stays.
        let mut next = tempfile::NamedTempFile::new_in(folder)?;
        next.write_all(HEAD.as_bytes())?;
        next.write_all(text.as_bytes())?;
        // Whoever could read it, such as a server that is not root, still can.
        if let Ok(before) = std::fs::metadata(file) {
            std::os::unix::fs::fchown(next.as_file(), Some(before.uid()), Some(before.gid()))?;
            next.as_file().set_permissions(before.permissions())?;
        }
        next.as_file().sync_all()?;
        next.persist(file)?;
        held.sync_all()
    };
    write().map_err(fail)
}

const HEAD: &str = "# Keys of Evensong: hashes only. `evensong keys` changes this file; a running \
                    server\n# reads it again on SIGHUP.\n\n";

fn wrong(file: &Path, name: &str, reason: &str) -> KeysError {
    KeysError::Record { file: file.into(), name: name.into(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: &str = "2026-11-22T12:00:00Z";

    #[test]
    fn a_key_is_shown_once_and_its_file_knows_the_hash_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("deep").join("keys.toml");
        let rates = Rates { requests: Some(7), ..Rates::default() };
        let key = add(&file, "kiosk", &[Scope::Speech], rates, NOW).expect("added");
        assert!(key.starts_with("evs_") && key.len() == 47, "{key}");
        let text = std::fs::read_to_string(&file).expect("readable");
        assert!(!text.contains(&key[4..]) && text.contains("requests_per_minute = 7"), "{text}");
        let mode = std::os::unix::fs::PermissionsExt::mode(
            &std::fs::metadata(&file).expect("is there").permissions(),
        );
        assert_eq!(mode & 0o777, 0o600);
        let keys = Keys::read(&file).expect("readable");
        let principal = keys.verify(&key).expect("is known");
        assert_eq!((&*principal.name, principal.rates.requests), ("kiosk", Some(7)));
        let debug = format!("{keys:?}");
        assert!(!debug.contains(&key[4..]), "{debug}");
        for wrong in ["", "evs_", &key[..46], &format!("{key} "), &key.to_lowercase()] {
            assert_eq!(keys.verify(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_link_and_its_file_s_mode_stay_as_they_are() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let (real, link) = (folder.path().join("real.toml"), folder.path().join("link.toml"));
        add(&real, "a", &[], Rates::default(), NOW).expect("added");
        std::fs::set_permissions(&real, PermissionsExt::from_mode(0o640)).expect("set");
        std::os::unix::fs::symlink(&real, &link).expect("linked");
        add(&link, "b", &[], Rates::default(), NOW).expect("added");
        assert!(link.is_symlink());
        assert_eq!(Keys::read(&real).expect("readable").len(), 2);
        let mode = std::fs::metadata(&real).expect("is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
    }

    #[test]
    fn names_are_unique_and_plain() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys.toml");
        let add = |name: &str| {
            let added = add(&file, name, &[], Rates::default(), NOW);
            added.map(drop).map_err(|error| error.to_string())
        };
        assert_eq!(add("a.b-c_1"), Ok(()));
        for (name, said) in [("a.b-c_1", "already"), ("", "1 to"), ("a b", "letters"), ("\x1b", "")]
        {
            assert!(add(name).expect_err("is refused").contains(said), "{name:?}");
        }
        assert!(revoke(&file, "b").expect_err("no such").to_string().contains("no key"));
        revoke(&file, "a.b-c_1").expect("revoked");
        assert!(Keys::read(&file).expect("readable").is_empty());
    }

    #[test]
    fn a_bad_file_says_where() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys.toml");
        let missing = Keys::read(&file).expect_err("is not there").to_string();
        assert!(missing.contains("keys.toml") && missing.contains("keys add"), "{missing}");
        let record = |hash: &str| {
            format!("[[key]]\nname = \"k\"\nhash = \"{hash}\"\nscopes = []\ncreated = \"x\"\n")
        };
        let zeros = format!("blake3:{}", "0".repeat(64));
        for (text, said) in [
            ("[[key]]\nnam = 1\n".to_string(), "nam"),
            (record("x"), "blake3:"),
            (record(&zeros).repeat(2), "twice"),
            (record(&zeros) + "scope = []\n", "scope"),
        ] {
            std::fs::write(&file, &text).expect("written");
            let error = Keys::read(&file).expect_err("is bad").to_string();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
