//! A model behind a connection that is two ends of memory, under a clock that the test turns.

use std::io;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::*;
use crate::answer::History;
use crate::ledger::{Departure, Kind, Ledger};
use crate::metrics::Metrics;
use crate::tasks::Scope;
use crate::upstream::address::Base;
use crate::upstream::aged::Ages;
use crate::upstream::dial::{Connect, Io};
use crate::upstream::{Parts, Scheme, Secret, UpstreamConfig};

const SECOND: Duration = Duration::from_secs(1);
const KEY: &str = "sk-canary";

/// Each connection's other end goes to the test; both hold so many bytes that nobody has read.
struct Wire {
    peers: mpsc::Sender<DuplexStream>,
    bytes: usize,
}

impl Connect for Wire {
    fn connect(
        &self,
        _: String,
        _: u16,
    ) -> Pin<Box<dyn Future<Output = io::Result<Box<dyn Io>>> + Send>> {
        let (ours, theirs) = duplex(self.bytes);
        let known =
            self.peers.try_send(theirs).map_err(|_| io::ErrorKind::ConnectionRefused.into());
        Box::pin(std::future::ready(known.map(|()| Box::new(ours) as Box<dyn Io>)))
    }
}

struct House {
    llm: Llm,
    peers: mpsc::Receiver<DuplexStream>,
    ledger: Ledger,
    _scope: Scope,
}

impl House {
    /// Over connections that hold so many bytes.
    async fn new(bytes: usize) -> Self {
        let ledger = Ledger::new();
        let scope = Scope::new("test", ledger.clone());
        let (most, grace, wait) = (600 * SECOND, 60 * SECOND, SECOND);
        let name = "answer.llm";
        let upstream = UpstreamConfig {
            scheme: Scheme::Bearer,
            base: Base::parse("http://model.test/v1").expect("a base"),
            key: Secret::new(KEY),
            ages: Ages { name, most, jitter_percent: 0, grace, in_flight: 4, wait },
            connect: SECOND,
            first_byte: 10 * SECOND,
            between: 5 * SECOND,
            total: 60 * SECOND,
            keep_alive: false,
        };
        let (spawner, metrics, tls) = (scope.spawner(), Metrics::default(), Default::default());
        let (peers, others) = mpsc::channel(16);
        let connect = Arc::new(Wire { peers, bytes });
        let parts = Parts { spawner, metrics, tls };
        let upstream = Upstream::start_over(upstream, &parts, connect).await.expect("a client");
        let (model, system_prompt) = ("small".into(), "Be brief.".into());
        let config = LlmConfig { model, system_prompt, max_tokens: Some(9), temperature: None };
        Self { llm: Llm::new(upstream, config), peers: others, ledger, _scope: scope }
    }

    fn ask(&self) -> Pieces {
        let question = Question::new("Why?", History::default(), "me", Departure::default());
        self.llm.answer(question.expect("a question"))
    }

    /// What comes of an answer of these bytes, and what was asked.
    async fn hear(&mut self, answer: &[u8]) -> (String, Result<End, String>, String) {
        let pieces = self.ask();
        let serve = async {
            let mut peer = self.peers.recv().await.expect("a connection");
            let asked = request(&mut peer).await;
            // Whoever has heard enough hangs up.
            let _ = peer.write_all(answer).await;
            asked
        };
        let ((text, end), asked) = tokio::join!(collect(pieces), serve);
        (text, end, asked)
    }
}

/// Reads a request whole.
async fn request(peer: &mut DuplexStream) -> String {
    let mut read = String::new();
    loop {
        read.push(peer.read_u8().await.expect("a request").into());
        let Some((head, body)) = read.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        if length.and_then(|length| length.parse().ok()) == Some(body.len()) {
            return read;
        }
    }
}

/// The text, and how it ended; nothing may follow that.
async fn collect(mut pieces: Pieces) -> (String, Result<End, String>) {
    let mut text = String::new();
    loop {
        let end = match pieces.next().await.expect("an end of whichever kind") {
            Ok(Piece::Sources(_)) => panic!("a model names none"),
            Ok(Piece::Text(piece)) => {
                text += &piece;
                continue;
            }
            Ok(Piece::End(end)) => Ok(end),
            Err(error) => Err(error.to_string()),
        };
        assert!(pieces.next().await.is_none() && pieces.next().await.is_none());
        return (text, end);
    }
}

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n\r\n";

fn says(text: &str) -> String {
    let chunk = serde_json::json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {chunk}\n\n")
}

fn ends(reason: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{}},\"finish_reason\":\"{reason}\"}}]}}\n\n")
}

const USED: &str = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":2,\"total_tokens\":11}}\n\n";
const DONE: &str = "data: [DONE]\n\n";

fn streamed(events: &[&str]) -> Vec<u8> {
    format!("{HEAD}{}", events.concat()).into_bytes()
}

fn stopped() -> Result<End, String> {
    Ok(End { finish: Finish::Stop, usage: None })
}

#[tokio::test(start_paused = true)]
async fn an_answer_is_the_same_byte_by_byte() {
    let usage = Usage { prompt_tokens: 9, completion_tokens: 2, total_tokens: 11 };
    let answer =
        streamed(&[": ping\n\n", &says("Grüße"), &says(" an 🎵"), &ends("stop"), USED, DONE]);
    for bytes in [1, 3, 64 * 1024] {
        let mut house = House::new(bytes).await;
        let (text, end, asked) = house.hear(&answer).await;
        assert_eq!(
            (&*text, end),
            ("Grüße an 🎵", Ok(End { finish: Finish::Stop, usage: Some(usage) }))
        );
        for part in [
            "POST /v1/chat/completions HTTP/1.1\r\n",
            "host: model.test\r\n",
            "authorization: Bearer sk-canary\r\n",
            "x-request-id: me\r\n",
            "accept: text/event-stream\r\n",
            "\"model\":\"small\"",
            "{\"role\":\"system\",\"content\":\"Be brief.\"},{\"role\":\"user\",\"content\":\"Why?\"}",
            "\"max_tokens\":9",
        ] {
            assert!(asked.contains(part), "{part}: {asked}");
        }
        assert!(house.ledger.is_idle(), "nothing is left");
    }
}

#[tokio::test(start_paused = true)]
async fn only_what_the_server_calls_an_end_is_one() {
    let mut house = House::new(1024).await;
    for (events, text, end) in [
        (&[&*says("Hi"), &ends("stop"), DONE][..], "Hi", stopped()),
        (&[&says("Hi"), &ends("stop")], "Hi", stopped()),
        (
            &[&says("Hi"), DONE, &says("more")],
            "Hi",
            Ok(End { finish: Finish::Unsaid, usage: None }),
        ),
        (&[&ends("length"), DONE], "", Ok(End { finish: Finish::Length, usage: None })),
    ] {
        let (heard, ended, _) = house.hear(&streamed(events)).await;
        assert_eq!((&*heard, ended), (text, end), "{events:?}");
    }
    for (events, text, error) in [
        (&[&*says("Hi")][..], "Hi", "the connection broke off: its end did not come"),
        (&[&says("Hi"), "data: [DONE]"], "Hi", "its end did not come"),
        (&[], "", "its end did not come"),
        (&[DONE], "", "it ends without a word or a reason"),
        (&[&says("Hi"), "data: {\"cho\n\n"], "Hi", "cannot be read behind character"),
        (
            &[&says("Hi"), "data: ", &"x".repeat(70_000)],
            "Hi",
            "an event is longer than 65536 bytes",
        ),
    ] {
        let (heard, end, _) = house.hear(&streamed(events)).await;
        let end = end.expect_err("is no end");
        assert!(heard == text && end.starts_with("answer.llm: ") && end.contains(error), "{end}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_it_thinks_is_not_said() {
    let hm = "data: {\"choices\":[{\"delta\":{\"content\":null,\"reasoning_content\":\"Hm.\",\"reasoning\":\"Hm.\"}}]}\n\n";
    for (events, text, end) in [
        (
            &[&*says("<think>\nHm."), &says("</th"), &says("ink>\n\nHi"), &ends("stop"), DONE][..],
            "Hi",
            stopped(),
        ),
        (&[hm, &says("Hi"), hm, &ends("stop"), DONE], "Hi", stopped()),
        (&[&says("Hi <think>you</think>"), &ends("stop")], "Hi <think>you</think>", stopped()),
        // What looked like a tag until its end was the answer.
        (&[&says("<thi"), &ends("stop"), DONE], "<thi", stopped()),
        (&[&says(" <"), &ends("stop")], "<", stopped()),
        (&[&says("<"), DONE], "<", Ok(End { finish: Finish::Unsaid, usage: None })),
        // It ends before its answer: that is empty, as it is without thoughts.
        (
            &[&says("<think>Hm"), &ends("length"), DONE],
            "",
            Ok(End { finish: Finish::Length, usage: None }),
        ),
        (&[hm, &ends("stop"), DONE], "", stopped()),
    ] {
        let mut house = House::new(1024).await;
        let (heard, ended, _) = house.hear(&streamed(events)).await;
        assert_eq!((&*heard, ended), (text, end), "{events:?}");
        assert!(house.ledger.is_idle(), "nothing is left");
    }
    for (events, error) in [
        (&[&*says("<think>Hm</think> "), DONE][..], "it ends without a word or a reason"),
        (&[&says("<think>Hm"), DONE], "it ends without a word or a reason"),
        (&[hm, DONE], "it ends without a word or a reason"),
        (&[&says("<think>Hm")], "its end did not come"),
        (&[&says("<thi")], "its end did not come"),
    ] {
        let (heard, end, _) = House::new(1024).await.hear(&streamed(events)).await;
        let end = end.expect_err("is no end");
        assert!(heard.is_empty() && end.contains(error), "{events:?}: {heard} {end}");
    }
}

#[tokio::test(start_paused = true)]
async fn thoughts_are_no_part_of_an_answer_and_yet_they_end() {
    let mut house = House::new(64 * 1024).await;
    let thought = says(&"and so on ".repeat(400));
    let thoughts = thought.repeat(4 * ANSWER_BYTES / 4000);
    let answer = [&*says("<think>"), &thoughts, &says("</think>Hi"), &ends("stop"), DONE];
    let (text, end, _) = house.hear(&streamed(&answer)).await;
    assert_eq!((&*text, end), ("Hi", stopped()));

    let endless = thought.repeat(ANSWER_STREAM_BYTES as usize / thought.len() + 1);
    let (text, end, _) = house.hear(&streamed(&[&says("<think>"), &endless])).await;
    let end = end.expect_err("is cut");
    assert!(text.is_empty() && end.contains("longer than"), "{end}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_breaks_off_is_no_end() {
    let mut house = House::new(1024).await;
    let event = says("Hi");
    let head = HEAD.replace("\r\n\r\n", "\r\ntransfer-encoding: chunked\r\n\r\n");
    let answer = format!("{head}{:x}\r\n{event}\r\nff\r\ndata: [DO", event.len());
    let (text, end, _) = house.hear(answer.as_bytes()).await;
    assert!(text == "Hi" && end.expect_err("broke").contains("the connection broke off"));
}

#[tokio::test(start_paused = true)]
async fn an_error_in_the_stream_is_passed_on_and_holds_no_key() {
    let mut house = House::new(1024).await;
    let long = "é".repeat(400);
    for (event, said) in [
        (
            "data: {\"error\":{\"message\":\"no sk-canary\\u001b[2J!\",\"code\":500}}\n\n",
            "no ***[2J!",
        ),
        (
            "error: {\"code\":400,\"message\":\"context is full\"}\n\ndata: [DONE]\n\n",
            "context is full",
        ),
        ("event: error\ndata: sk-canary\n\n", "it does not say why"),
        ("data: {\"object\":\"error\",\"message\":\"too hot\"}\n\n", "too hot"),
        (&format!("data: {{\"error\":\"{long}\"}}\n\n"), &long[..600]),
    ] {
        let (text, end, _) = house.hear(&streamed(&[&says("Hi"), event, DONE])).await;
        let end = end.expect_err("is an error");
        assert_eq!(text, "Hi");
        assert_eq!(end, format!("answer.llm: it gave up in the middle of its answer: {said}"));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_no_stream_is_told_by_its_kind() {
    for (answer, said) in [
        ("HTTP/1.1 401 x\r\ncontent-length: 0\r\n\r\n", "does not let us in (401); see the key"),
        (
            "HTTP/1.1 404 x\r\ncontent-length: 40\r\n\r\n{\"error\":{\"message\":\"no model 'small'\"}} ",
            "(404): no model 'small'",
        ),
        (
            "HTTP/1.1 302 x\r\nlocation: http://169.254.169.254/\r\ncontent-length: 0\r\n\r\n",
            "redirect (302)",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
            "answered with application/json, not with text/event-stream",
        ),
        ("HTTP/1.1 200 OK\r\n\r\ndata: x\n\n", "answered with no type, not"),
        (
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\n\r\n",
            "the coding \"gzip\"",
        ),
        ("220 mail ready\r\n", "its answer makes no sense"),
    ] {
        let mut house = House::new(1024).await;
        let (text, end, _) = house.hear(answer.as_bytes()).await;
        let end = end.expect_err("is an error");
        assert!(text.is_empty() && end.contains(said), "{said}: {end}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_is_busy_is_asked_again_when_it_says() {
    let mut house = House::new(1024).await;
    let (pieces, began) = (house.ask(), Instant::now());
    let serve = async {
        for answer in [
            b"HTTP/1.1 429 x\r\nretry-after: 3\r\ncontent-length: 0\r\n\r\n".to_vec(),
            streamed(&[&says("Hi"), &ends("stop"), DONE]),
        ] {
            let mut peer = house.peers.recv().await.expect("a connection");
            request(&mut peer).await;
            let _ = peer.write_all(&answer).await;
        }
    };
    let ((text, end), ()) = tokio::join!(collect(pieces), serve);
    assert_eq!((&*text, end), ("Hi", stopped()));
    assert!((3 * SECOND..4 * SECOND).contains(&began.elapsed()), "{:?}", began.elapsed());

    let refuses = "HTTP/1.1 429 x\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n";
    let (_, end, _) = house.hear(refuses.as_bytes()).await;
    assert_eq!(end.expect_err("is busy"), "answer.llm: it is busy (429)");
}

#[tokio::test(start_paused = true)]
async fn what_a_server_does_not_know_is_said_otherwise() {
    let mut house = House::new(1024).await;
    let refusal = |said: &str| {
        let body = format!("{{\"error\":{{\"message\":\"unsupported: {said}\"}}}}");
        format!("HTTP/1.1 400 x\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let good = streamed(&[&says("Hi"), &ends("stop"), DONE]);
    let pieces = house.ask();
    let serve = async {
        let mut asked = Vec::new();
        for answer in
            [refusal("stream_options"), refusal("use max_completion_tokens"), good.clone()]
        {
            let mut peer = house.peers.recv().await.expect("a connection");
            asked.push(request(&mut peer).await);
            let _ = peer.write_all(&answer).await;
        }
        asked
    };
    let ((text, end), asked) = tokio::join!(collect(pieces), serve);
    assert_eq!((&*text, end), ("Hi", stopped()));
    assert!(asked[1].contains("\"max_tokens\":9") && !asked[1].contains("stream_options"));
    assert!(asked[2].contains("\"max_completion_tokens\":9") && !asked[2].contains("max_tokens"));
    let (_, end, again) = house.hear(&good).await;
    assert_eq!((end, again.split_once("\r\n\r\n")), (stopped(), asked[2].split_once("\r\n\r\n")));
    let (_, end, _) = house.hear(&refusal("stream_options")).await;
    assert!(end.expect_err("is refused").contains("unsupported: stream_options"), "and no more");
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_told_from_a_reader_that_takes_its_time() {
    let mut house = House::new(1024).await;
    let mut pieces = house.ask();
    let serve = async {
        let mut peer = house.peers.recv().await.expect("a connection");
        request(&mut peer).await;
        peer.write_all(&streamed(&[&says("Hi"), &says(" you")])).await.expect("it is read");
        peer
    };
    let (first, mut peer) = tokio::join!(pieces.next(), serve);
    assert_eq!(first, Some(Ok(Piece::Text("Hi".into()))));
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(pieces.next().await, Some(Ok(Piece::Text(" you".into()))));
    let began = Instant::now();
    let (text, end) = collect(pieces).await;
    assert!(end.expect_err("stalls").contains("nothing came for 5000 ms") && text.is_empty());
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(peer.read(&mut [0; 8]).await.expect("an end"), 0, "the connection is closed");
}

#[tokio::test(start_paused = true)]
async fn an_answer_without_end_is_cut_and_the_cut_is_said() {
    let mut house = House::new(1024).await;
    let pieces = house.ask();
    let serve = async {
        let mut peer = house.peers.recv().await.expect("a connection");
        request(&mut peer).await;
        peer.write_all(HEAD.as_bytes()).await.expect("it is read");
        let event = says("and so on ");
        let mut events = 0usize;
        while peer.write_all(event.as_bytes()).await.is_ok() {
            events += 1;
        }
        events
    };
    let ((text, end), events) = tokio::join!(collect(pieces), serve);
    assert_eq!(end, Err(format!("answer.llm: the answer is longer than {ANSWER_BYTES} bytes")));
    assert!(text.len() <= ANSWER_BYTES && text.len() > ANSWER_BYTES - 10, "{}", text.len());
    assert!(events < ANSWER_BYTES / 10 + 2000, "{events}: it is not read on");
}

#[tokio::test(start_paused = true)]
async fn dropping_an_answer_closes_its_connection() {
    for heard in [0, 1] {
        let mut house = House::new(1024).await;
        let mut pieces = house.ask();
        let serve = async {
            let mut peer = house.peers.recv().await.expect("a connection");
            request(&mut peer).await;
            if heard > 0 {
                peer.write_all(&streamed(&[&says("Hi")])).await.expect("it is read");
            }
            peer
        };
        let mut peer = match heard {
            0 => tokio::select! {
                biased;
                peer = serve => peer,
                _ = pieces.next() => panic!("nothing was said"),
            },
            _ => {
                let (piece, peer) = tokio::join!(pieces.next(), serve);
                assert_eq!(piece, Some(Ok(Piece::Text("Hi".into()))));
                peer
            }
        };
        assert_eq!(house.ledger.live(Kind::UpstreamRequest), 1);
        let began = Instant::now();
        drop(pieces);
        assert_eq!(house.ledger.live(Kind::UpstreamRequest), 0);
        assert_eq!(peer.read(&mut [0; 8]).await.expect("an end"), 0);
        assert!(began.elapsed() < Duration::from_millis(10), "{:?}", began.elapsed());
    }
}
