//! The binary as a process of its own, whose log can be read, and which a test can send signals to. It is
//! killed when the test is over.

use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::http::{Answer, Client};

/// See the module.
pub struct ChildServer {
    pub child: Child,
    pub listen: std::net::SocketAddr,
    pub admin: std::net::SocketAddr,
    log: tempfile::NamedTempFile,
}

impl ChildServer {
    /// Starts it with the test signal as its engine, on free ports.
    pub async fn start(args: &[&str], env: &[(&str, &str)]) -> Self {
        let log = tempfile::NamedTempFile::new().expect("a file");
        let stderr = log.reopen().expect("a second handle");
        let mut child = Command::new(env!("CARGO_BIN_EXE_evensong"))
            .args(["--announce", "--speech-engine", "tone", "--admin", "127.0.0.1:0"])
            .args(if args.contains(&"--listen") { &[][..] } else { &["--listen", "127.0.0.1:0"] })
            .args(args)
            .env_clear()
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true)
            .spawn()
            .expect("it runs");
        let out = child.stdout.take().expect("a pipe");
        let mut lines = BufReader::new(out).lines();
        let line = tokio::time::timeout(Duration::from_secs(30), lines.next_line()).await;
        let line = line.expect("it announces itself").expect("a pipe").expect("addresses");
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let address = |value: &Value| {
            let url = value.as_str().expect("a URL");
            url.trim_start_matches("http://").parse().expect("an address")
        };
        let (listen, admin) = (address(&said["listen"][0]), address(&said["admin"]));
        Self { child, listen, admin, log }
    }

    /// GET on the admin address.
    pub async fn admin(&self, path: &str) -> Answer {
        Client::connect(self.admin).await.get(path).await
    }

    /// Speaks a text on a connection of its own, which is closed behind it; `id` is the request's.
    pub async fn speak(&self, id: &str) -> u16 {
        let mut client = Client::connect(self.listen).await;
        let body = format!("{{\"input\":\"Speaking of {id}.\",\"response_format\":\"pcm\"}}");
        let head = format!(
            "POST /v1/audio/speech HTTP/1.1\r\nhost: localhost\r\nx-request-id: {id}\r\n\
             content-length: {}\r\n\r\n{body}",
            body.len()
        );
        client.send(head.as_bytes()).await;
        client.answer().await.status
    }

    /// The memory watch's report, as soon as `wanted` holds of it; panics after `patience`.
    pub async fn memory(&self, patience: Duration, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let report = self.admin("/debug/memory").await.json();
            if wanted(&report) {
                return report;
            }
            assert!(began.elapsed() < patience, "not within {patience:?}: {report:#}");
            tokio::task::yield_now().await;
        }
    }

    /// What it has logged so far, a line each.
    pub fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.log.path()).expect("a log");
        text.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// How often it has logged exactly this message.
    pub fn said(&self, message: &str) -> usize {
        self.log().iter().filter(|line| line["message"] == message).count()
    }

    /// The ids of its worker processes.
    pub fn workers(&self) -> Vec<u32> {
        let all = std::fs::read_dir("/proc").expect("proc");
        let ids = all.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let parent = |id: &u32| {
            let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
            stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
        };
        ids.filter(|id| parent(id) == self.child.id()).collect()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.child.id().and_then(|pid| rustix::process::Pid::from_raw(pid as i32));
        rustix::process::kill_process(pid.expect("it runs"), signal).expect("it can be told");
    }

    /// Asks it to leave, and waits until it has.
    pub async fn stop(&mut self) {
        self.signal(rustix::process::Signal::TERM);
        assert!(self.child.wait().await.expect("its end").success());
    }
}
