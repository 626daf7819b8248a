//! `evensong ask`, the binary, and a model in the test's own process.

use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(20);
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";

fn says(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

fn ends(reason: &str) -> String {
    let choice = format!("{{\"delta\":{{}},\"finish_reason\":\"{reason}\"}}");
    format!("data: {{\"choices\":[{choice}]}}\n\ndata: [DONE]\n\n")
}

/// Asks the model at that URL, with a key that must not be seen again.
fn ask(question: &str, url: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_evensong"))
        .args(["ask", question, "--answer-llm-model", "small", "--answer-llm-base-url", url])
        .env_clear()
        .env("EVENSONG_ANSWER_LLM_API_KEY", "sk-canary")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("it runs")
}

/// Exit status, answer and complaint.
async fn end_of(child: Child) -> (Option<i32>, String, String) {
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("ends").expect("output");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let (out, error) = (text(output.stdout), text(output.stderr));
    assert!(!out.contains("canary") && !error.contains("canary"), "{out}{error}");
    (output.status.code(), out, error)
}

struct Model(TcpListener);

impl Model {
    async fn new() -> Self {
        Self(TcpListener::bind("127.0.0.1:0").await.expect("a port"))
    }

    fn url(&self) -> String {
        format!("http://{}/v1", self.0.local_addr().expect("bound"))
    }

    /// The next connection, and what is asked on it.
    async fn asked(&self) -> (TcpStream, String) {
        let (mut peer, _) =
            timeout(PATIENCE, self.0.accept()).await.expect("asks").expect("a peer");
        let mut read = Vec::new();
        loop {
            read.push(peer.read_u8().await.expect("a request"));
            let text = String::from_utf8_lossy(&read);
            let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            if length.and_then(|length| length.parse().ok()) == Some(body.len()) {
                return (peer, text.into_owned());
            }
        }
    }

    /// Asks a model that answers with these bytes.
    async fn answers(answer: &str) -> (Option<i32>, String, String) {
        let model = Self::new().await;
        let child = ask("Why?", &model.url());
        let (mut peer, _) = model.asked().await;
        peer.write_all(answer.as_bytes()).await.expect("it reads");
        drop(peer);
        end_of(child).await
    }
}

#[tokio::test]
async fn an_answer_is_printed_as_it_comes() {
    let model = Model::new().await;
    let mut child = ask("Warum ist der Himmel blau?", &model.url());
    let (mut peer, asked) = model.asked().await;
    assert!(asked.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{asked}");
    for part in ["Bearer sk-canary", "Himmel blau?", "read aloud", "\"stream\":true"] {
        assert!(asked.contains(part), "{part}: {asked}");
    }
    peer.write_all(format!("{HEAD}{}", says("First.\\n")).as_bytes()).await.expect("it reads");
    let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
    let mut line = String::new();
    timeout(PATIENCE, out.read_line(&mut line)).await.expect("at once").expect("a line");
    assert_eq!(line, "First.\n", "before the second was written");
    let rest = [says("Grüße"), says("!"), ends("stop")].concat();
    peer.write_all(rest.as_bytes()).await.expect("it reads");
    timeout(PATIENCE, out.read_line(&mut line)).await.expect("soon").expect("a line");
    assert_eq!(line, "First.\nGrüße!\n", "ended by a newline of its own");
    assert_eq!(end_of(child).await, (Some(0), String::new(), String::new()));
}

#[tokio::test]
async fn what_went_wrong_is_said_with_what_would_do() {
    let text = says("Half a sen");
    let refused =
        "HTTP/1.1 404 x\r\ncontent-length: 34\r\n\r\n{\"error\":{\"message\":\"no 'small'\"}} ";
    for (answer, printed, said) in [
        (format!("{HEAD}{text}"), "Half a sen\n", "broke off: its end did not come"),
        (format!("{HEAD}{text}data: {{\"error\":\"no sk-canary\"}}\n\n"), "Half a sen\n", "no ***"),
        ("HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n".into(), "", "that is answer.llm.api_key"),
        (refused.into(), "", "no 'small'; answer.llm.base_url is http://127.0.0.1:"),
    ] {
        let (code, out, error) = Model::answers(&answer).await;
        assert_eq!((code, &*out), (Some(1), printed), "{error}");
        assert!(error.starts_with("evensong: answer.llm: ") && error.contains(said), "{error}");
    }
    let (code, out, error) = Model::answers(&format!("{HEAD}{text}{}", ends("length"))).await;
    assert_eq!((code, &*out), (Some(0), "Half a sen\n"));
    assert!(error.contains("cut off at its longest (answer.llm.max_tokens)"), "{error}");

    let nobody = Model::new().await.url();
    let (code, _, error) = end_of(ask("Why?", &nobody)).await;
    assert!(code == Some(1) && error.contains("is it running? answer.llm.base_url is"), "{error}");
    let (code, _, error) = end_of(ask(" ", &nobody)).await;
    assert!(code == Some(1) && error.contains("the question is empty"), "{error}");
    let unset =
        Command::new(env!("CARGO_BIN_EXE_evensong")).args(["ask", "Why?"]).env_clear().output();
    let error = String::from_utf8(unset.await.expect("it runs").stderr).expect("text");
    assert!(
        error.contains("by the setting data") && error.contains("--answer-llm-model"),
        "{error}"
    );
}

/// Whether this process ignores SIGINT, and with it whoever it starts.
fn ignores_interrupts() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0");
    u64::from_str_radix(ignored.trim(), 16).is_ok_and(|ignored| ignored & 0b10 != 0)
}

#[tokio::test]
async fn an_interrupt_ends_it_and_the_model_sees_that() {
    let model = Model::new().await;
    let child = ask("Why?", &model.url());
    let (mut peer, _) = model.asked().await;
    peer.write_all(HEAD.as_bytes()).await.expect("it reads");
    let pid = child.id().and_then(|pid| Pid::from_raw(pid as i32)).expect("it runs");
    // Whoever is started behind the back of a terminal (`… &` in a script) was told to ignore what comes from its keys.
    let signal = if ignores_interrupts() { Signal::TERM } else { Signal::INT };
    rustix::process::kill_process(pid, signal).expect("it can be told");
    let seen = timeout(PATIENCE, peer.read(&mut [0; 8])).await.expect("it is seen");
    assert!(matches!(seen, Ok(0) | Err(_)), "{seen:?}");
    assert_eq!(end_of(child).await.0, None, "by the signal");
}

#[tokio::test]
async fn where_there_is_no_model_the_index_answers_and_names_its_source() {
    let data = tempfile::tempdir().expect("a folder");
    let ask = |question: &'static str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evensong"));
        command.args(["ask", question]).env_clear().env("EVENSONG_DATA", data.path());
        command
    };
    let told =
        ask("How does a page of the ring return to the budget?").output().await.expect("it runs");
    let said = String::from_utf8(told.stdout).expect("text");
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    assert!(said.contains("ring") && said.contains("That is from "), "{said}");
    let told = ask("Zyzzyva quokka?").output().await.expect("it runs");
    assert_eq!(String::from_utf8(told.stdout).expect("text"), "I found nothing about that.\n");
}
