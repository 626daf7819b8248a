//! Compresses the page's texts once, each at its best, into a table that the binary carries: a request is answered
//! with bytes that lie there. Invariant: what is in the table as br, zstd or gzip is smaller than the file itself.
//!
//! And it tells the binary which commit it was built of.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

type Outcome<T> = Result<T, Box<dyn Error>>;

const ASSETS: &str = "assets/page";
/// The rest is compressed already.
const TEXTS: &[&str] = &["html", "css", "js", "svg", "json", "webmanifest"];
/// A build is made once, and a page loaded often.
const BROTLI_QUALITY: i32 = 11;
/// 4 MiB: more than any of the files.
const BROTLI_WINDOW_LOG: i32 = 22;
/// The highest; it allows windows that browsers refuse (RFC 9659: 8 MiB), but none is larger than its file.
const ZSTD_LEVEL: i32 = 22;

/// What goes in the binary: every form of every file, and where each begins.
#[derive(Default)]
struct Table {
    bytes: Vec<u8>,
    /// JSON, one file a line; `src/http/page/files.rs` reads it.
    index: String,
}

fn main() -> Outcome<()> {
    println!("cargo::rerun-if-changed={ASSETS}");
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=EVENSONG_REVISION={}", revision());
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join(ASSETS);
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    let mut named = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root)?.to_str().ok_or("a name that is not UTF-8")?;
        named.push((name.to_string(), fs::read(&file)?));
    }
    // As strings are compared: the table is searched in halves.
    named.sort();
    let mut table = Table::default();
    for (name, bytes) in &named {
        table.add(name, bytes)?;
    }
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("page.bin"), table.bytes)?;
    fs::write(out.join("page.json"), format!("[{}]", table.index))?;
    Ok(())
}

/// What whoever builds says (`EVENSONG_REVISION`), else the commit; in builds that are for use, since others would be built again for each
/// commit.
fn revision() -> String {
    println!("cargo::rerun-if-env-changed=EVENSONG_REVISION");
    let said = env::var("EVENSONG_REVISION").ok().filter(|said| !said.is_empty());
    let is_for_use = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let commit = || {
        // Written to whenever another commit is checked out or made.
        let moves = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
        if Path::new(&moves).exists() {
            println!("cargo::rerun-if-changed={moves}");
        }
        git(&["rev-parse", "--short=12", "HEAD"])
    };
    said.or_else(|| is_for_use.then(commit).flatten()).unwrap_or_else(|| "unknown".into())
}

/// What git says; nothing where there is none, or no repository.
#[expect(clippy::disallowed_methods, reason = "it is waited for, and the build is over behind it")]
fn git(args: &[&str]) -> Option<String> {
    let output = Command::new("git").args(args).output().ok().filter(|out| out.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_string()).filter(|said| !said.is_empty())
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> Outcome<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

impl Table {
    /// A file: its name, its hash, and its bytes in each form.
    fn add(&mut self, name: &str, bytes: &[u8]) -> Outcome<()> {
        let hash = &blake3::hash(bytes).to_hex()[..32];
        let comma = if self.index.is_empty() { "" } else { ",\n" };
        let at = self.place(bytes);
        write!(
            self.index,
            "{comma}{{\"name\":{name:?},\"hash\":{hash:?},\"identity\":{at},\"coded\":["
        )?;
        let mut comma = "";
        for (coding, form) in forms(name, bytes)? {
            let at = self.place(&form);
            write!(self.index, "{comma}[{coding:?},{at}]")?;
            comma = ",";
        }
        self.index.push_str("]}");
        Ok(())
    }

    /// Where these now are: `[begin,end]`.
    fn place(&mut self, bytes: &[u8]) -> String {
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        format!("[{begin},{}]", self.bytes.len())
    }
}

/// Those that are smaller than the file, the smallest first: where a client likes several alike, it is sent.
fn forms(name: &str, bytes: &[u8]) -> Outcome<Vec<(&'static str, Vec<u8>)>> {
    if !name.rsplit('.').next().is_some_and(|ending| TEXTS.contains(&ending)) {
        return Ok(Vec::new());
    }
    let mut forms = vec![("br", br(bytes)?), ("zstd", zstd(bytes)?), ("gzip", gzip(bytes)?)];
    forms.retain(|(_, form)| form.len() < bytes.len());
    forms.sort_by_key(|(_, form)| form.len());
    Ok(forms)
}

fn br(bytes: &[u8]) -> Outcome<Vec<u8>> {
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY,
        lgwin: BROTLI_WINDOW_LOG,
        mode: brotli::enc::backward_references::BrotliEncoderMode::BROTLI_MODE_TEXT,
        size_hint: bytes.len(),
        ..Default::default()
    };
    let mut form = Vec::new();
    brotli::BrotliCompress(&mut &*bytes, &mut form, &parameters)?;
    Ok(form)
}

fn zstd(bytes: &[u8]) -> Outcome<Vec<u8>> {
    Ok(zstd::bulk::compress(bytes, ZSTD_LEVEL)?)
}

fn gzip(bytes: &[u8]) -> Outcome<Vec<u8>> {
    let mut writer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}
