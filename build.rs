//! Compresses the page's texts once, each at its best, into a table that the binary carries: a request is answered
//! with bytes that lie there. Invariant: what is in the table as br, zstd or gzip is smaller than the file itself.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
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

fn main() -> Outcome<()> {
    println!("cargo::rerun-if-changed={ASSETS}");
    println!("cargo::rerun-if-changed=build.rs");
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join(ASSETS);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let folder = out.join("page");
    fs::create_dir_all(&folder)?;
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    // By name, as bytes are compared: the table is searched in halves.
    let mut named = Vec::new();
    for file in files {
        let name = file.strip_prefix(&root)?.to_str().ok_or("a name that is not UTF-8")?;
        named.push((name.to_string(), file.clone()));
    }
    named.sort();
    let mut table = String::from("&[\n");
    for (name, file) in &named {
        entry(&mut table, name, file, &folder)?;
    }
    table.push_str("]\n");
    fs::write(out.join("page.rs"), table)?;
    Ok(())
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

/// One line of the table: the file's name, its hash, and its bytes in each form.
fn entry(table: &mut String, name: &str, file: &Path, folder: &Path) -> Outcome<()> {
    let bytes = fs::read(file)?;
    let hash = &blake3::hash(&bytes).to_hex()[..32];
    writeln!(
        table,
        "File {{ name: {name:?}, hash: {hash:?}, identity: include_bytes!({file:?}), coded: &["
    )?;
    let is_text = name.rsplit('.').next().is_some_and(|ending| TEXTS.contains(&ending));
    if is_text {
        let forms = [("Br", br(&bytes)?), ("Zstd", zstd(&bytes)?), ("Gzip", gzip(&bytes)?)];
        // The smallest first: where a client likes several alike, it is sent.
        let mut forms: Vec<_> =
            forms.into_iter().filter(|(_, form)| form.len() < bytes.len()).collect();
        forms.sort_by_key(|(_, form)| form.len());
        for (coding, form) in forms {
            // Its content names it, so that nothing of an earlier build can be taken for it.
            let path = folder.join(format!("{hash}.{coding}"));
            fs::write(&path, form)?;
            writeln!(table, "    (Coding::{coding}, include_bytes!({path:?})),")?;
        }
    }
    writeln!(table, "] }},")?;
    Ok(())
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
