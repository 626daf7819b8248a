//! The binary as a person or an init system uses it.

use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::child::ChildServer;
use crate::http::Client;

fn evensong(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evensong"));
    command.args(args).env_clear().stdin(Stdio::null());
    command
}

fn run(args: &[&str]) -> Output {
    evensong(args).output().expect("it runs")
}

/// With the test signal, so that it needs no library.
const TONE: [&str; 2] = ["--speech-engine", "tone"];

#[test]
fn say_writes_a_file_whose_header_knows_its_length() {
    let folder = tempfile::tempdir().expect("a folder");
    let wav = folder.path().join("a.wav");
    let said =
        run(&[&["say", "One two three.", "-o", wav.to_str().expect("UTF-8")], &TONE[..]].concat());
    assert!(said.status.success(), "{said:?}");
    assert!(said.stdout.is_empty() && said.stderr.is_empty(), "{said:?}");
    let bytes = std::fs::read(&wav).expect("written");
    let data = u32::from_le_bytes(bytes[40..44].try_into().expect("four bytes"));
    assert_eq!(data as usize, bytes.len() - 44);
    let streamed = run(&[&["say", "One two three."], &TONE[..]].concat());
    assert_eq!(streamed.stdout[44..], bytes[44..], "to a pipe it streams the same");
    assert_eq!(streamed.stdout[40..44], [255; 4]);
}

#[test]
fn say_reads_standard_input_without_a_limit_of_length() {
    use std::io::Write;
    let mut child = evensong(&[&["say", "-"], &TONE[..]].concat())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut input = child.stdin.take().expect("a pipe");
    let text = "And so on and on. ".repeat(500);
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success());
    assert!(output.stdout.len() > text.len() * 2000, "{} bytes", output.stdout.len());
}

#[test]
fn what_cannot_be_done_is_said_with_what_would_do() {
    for (args, said) in [
        (&["say", "x", "-o", "a.xyz"][..], ".wav, .pcm"),
        (&["say", "x", "--speed", "9"], "between 0.25 and 4"),
        (&["say", "x", "--voice", "klingon"], "unknown voice"),
        (&["--listen", "0.0.0.0:0"], "--insecure"),
        (&["check", "--speech-workers", "0"], "between 1 and 64"),
        (&["--config", "/nowhere.toml", "check"], "/nowhere.toml"),
        (&["say"], "Usage"),
    ] {
        let output = run(&[args, &TONE[..]].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{args:?}: {error}");
    }
}

#[test]
fn a_missing_voice_library_is_named_with_its_packages() {
    let output = run(&["say", "x", "--speech-espeak-library", "/nowhere.so"]);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success()
            && error.contains("/nowhere.so; install libespeak-ng1 and espeak-ng-data"),
        "{error}"
    );
}

#[test]
fn check_prints_what_is_in_force() {
    let output = evensong(&["check", "--speech-workers", "3"])
        .env("EVENSONG_BUDGET_BYTES", "8388608")
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(
        text.contains("speech.workers = 3\n") && text.contains("budget_bytes = 8388608\n"),
        "{text}"
    );
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys.toml");
    let keys = |args: &[&str]| {
        let file = ["--keys-file", file.to_str().expect("a plain path")];
        run(&[&["keys"], args, &file].concat())
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let added = keys(&["add", "kiosk", "--scope", "speech,media", "--requests-per-minute", "60"]);
    assert!(added.status.success(), "{}", text(&added.stderr));
    let key = text(&added.stdout).trim().to_string();
    assert!(key.starts_with("evs_") && !text(&added.stderr).contains(&key), "{key}");
    let listed = text(&keys(&["list"]).stdout);
    for part in ["kiosk", "speech,media", "requests 60", "20"] {
        assert!(listed.contains(part) && !listed.contains(&key), "{listed}");
    }
    for (args, said) in [
        (&["add", "kiosk"][..], "is there already"),
        (&["add", "a b"], "letters, digits"),
        (&["add", "x", "--scope", "all"], "speech"),
        (&["revoke", "nobody"], "no key of this name"),
    ] {
        let output = keys(args);
        assert!(!output.status.success() && text(&output.stderr).contains(said), "{output:?}");
    }
    assert!(keys(&["revoke", "kiosk"]).status.success());
    assert!(text(&keys(&["list"]).stderr).contains("nobody is let in"));
    let without = run(&["keys", "list"]);
    assert!(text(&without.stderr).contains("--keys-file"), "{without:?}");
}

/// What a key must never be found in: what the server says, and what it answers.
#[test]
fn a_key_is_never_said_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("keys.toml");
    let file = file.to_str().expect("a plain path");
    let key = run(&["keys", "add", "canary", "--keys-file", file]).stdout;
    let key = String::from_utf8(key).expect("text").trim().to_string();
    let secret = &key[4..];
    let free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--announce"];
    let mut server = evensong(&[&free[..], &TONE[..], &["--keys-file", file]].concat())
        .env("EVENSONG_LOG", "trace")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(server.stdout.take().expect("a pipe"));
    std::io::BufRead::read_line(&mut stdout, &mut line).expect("a line");
    let announced: Value = serde_json::from_str(&line).expect("JSON");
    let mut said = String::new();
    for (side, path, field) in [
        ("listen", "/v1/models", format!("authorization: Bearer {key}")),
        ("listen", "/v1/models", format!("authorization: Bearer {key}x")),
        ("listen", "/v1/models", format!("authorization: {key}")),
        ("listen", "/v1/text-to-speech/x", format!("xi-api-key: {key}")),
        ("listen", &format!("/v1/models?key={key}&ticket={key}"), "x: y".into()),
        ("listen", "/v1/models", format!("host: {key}")),
        ("admin", "/metrics", "x: y".into()),
        ("admin", "/debug/ledger", "x: y".into()),
    ] {
        let url = announced[side].as_str().or(announced[side][0].as_str()).expect("an address");
        let mut stream = std::net::TcpStream::connect(&url[7..]).expect("it listens");
        let head = format!(
            "GET {path} HTTP/1.1\r\nhost: localhost\r\n{field}\r\nconnection: close\r\n\r\n"
        );
        std::io::Write::write_all(&mut stream, head.as_bytes()).expect("sent");
        std::io::Read::read_to_string(&mut stream, &mut said).expect("an answer");
    }
    assert!(said.contains("200 OK") && said.contains("invalid_api_key"), "{said}");
    let pid = rustix::process::Pid::from_raw(server.id() as i32).expect("a process id");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("it runs");
    let output = server.wait_with_output().expect("it ends");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && log.contains("server stopped"), "{log}");
    assert!(!said.contains(secret), "an answer says the key");
    assert!(!log.contains(secret), "the log says the key: {log}");
}

#[test]
fn voices_are_listed() {
    let output = run(&[&["voices", "list"], &TONE[..]].concat());
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("tone "), "{output:?}");
}

#[tokio::test]
async fn it_serves_until_a_signal_and_leaves_nothing_behind() {
    let mut server = ChildServer::start(&["serve"], &[]).await;
    let listen = server.listen.to_string();
    let healthy = evensong(&["check", "--health", "--listen", &listen]);
    let mut healthy = tokio::process::Command::from(healthy);
    assert!(healthy.status().await.expect("it runs").success());

    // A stream that would go on for long, and its client that does not read.
    let body = serde_json::json!({"input": "On and on. ".repeat(300), "response_format": "pcm"});
    let mut client = Client::connect_narrow(server.listen).await;
    client.send(&crate::http::post("/v1/audio/speech", body.to_string().as_bytes())).await;
    assert_eq!(client.head().await.0, 200);
    let workers = server.workers();
    assert_eq!(workers.len(), 2);

    let began = Instant::now();
    server.stop().await;
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    let (_, whole) = client.rest().await;
    assert!(!whole, "a stream that was cut must not look finished");
    for worker in workers {
        assert!(!std::path::Path::new(&format!("/proc/{worker}")).exists(), "an orphan");
    }
}

fn ignores(process: u32, signal: Signal) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("it runs");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a mask");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("hexadecimal digits");
    ignored & 1 << (signal.as_raw() - 1) != 0
}

/// `pkill -USR2 evensong` reaches them as well as the server.
#[tokio::test]
async fn workers_leave_signals_to_the_server() {
    let mut server = ChildServer::start(&[], &[]).await;
    let before = server.workers();
    // One that has only just begun has not yet said so to the kernel.
    while !before.iter().all(|worker| ignores(*worker, Signal::USR2)) {
        tokio::task::yield_now().await;
    }
    for signal in [Signal::HUP, Signal::USR2, Signal::INT] {
        for worker in &before {
            let worker = Pid::from_raw(*worker as i32).expect("a process id");
            rustix::process::kill_process(worker, signal).expect("it runs");
        }
    }
    assert_eq!(server.speak("still").await, 200);
    assert_eq!(server.workers(), before);
    server.stop().await;
}
