//! Sound that comes by a voice session, written down by a transcriber, and answered as a text is. Invariant, after each: nothing of a
//! recording is kept.

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::dialogue::{House, text};
use crate::fault_proxy::FaultProxy;
use crate::realtime::{Device, Ended, SOON, over, resume};
use crate::server::live;
use crate::upstream::canned;

const MINUTE_BYTES: usize = 60 * 48_000;

/// A house, with somebody who writes down what is said there.
async fn house(more: &[(&str, &str)]) -> (House, FaultProxy) {
    let proxy = FaultProxy::start(None).await;
    understands(&proxy, r#"{"text":" What is the ring? "}"#);
    let base = proxy.base();
    let pairs = [("answer.transcriber.base_url", &*base), ("answer.transcriber.model", "small")];
    (House::start(&[&pairs[..], more].concat()).await, proxy)
}

fn understands(proxy: &FaultProxy, answer: &str) {
    proxy.set(canned("200 OK\r\ncontent-type: application/json", answer.as_bytes()));
}

fn append(sound: &[u8]) -> Value {
    use base64::Engine as _;
    let audio = base64::engine::general_purpose::STANDARD.encode(sound);
    json!({"type": "input_audio_buffer.append", "audio": audio})
}

fn event(kind: &str) -> Value {
    json!({"type": kind})
}

async fn leave(mut device: Device) {
    device.socket.close(None).await.expect("closed");
    assert!(matches!(device.ended().await, Ended::Closed(..) | Ended::Broken));
}

async fn refused(device: &mut Device, event: Value) -> String {
    device.send(event).await;
    text(&device.until("error").await["error"], "code").to_string()
}

#[tokio::test]
async fn what_is_said_is_written_down_and_answered() {
    let (mut house, proxy) = house(SOON).await;
    let mut device = Device::open(&house.server, "").await;
    let sound: Vec<u8> = (0..48_000u32).map(|n| (n % 251) as u8).collect();
    for piece in sound.chunks(4_800) {
        device.send(append(piece)).await;
    }
    device.send(event("input_audio_buffer.commit")).await;
    // Asked at once, as by one who presses a button: it is answered when it can be read.
    device
        .send(json!({"type": "response.create", "response": {"output_modalities": ["text"]}}))
        .await;
    let committed = device.until("input_audio_buffer.committed").await;
    let added = device.until("conversation.item.added").await;
    assert_eq!(added["item"]["id"], committed["item_id"]);
    assert_eq!(added["item"]["content"], json!([{"type": "input_audio", "transcript": null}]));
    let written = device.until("conversation.item.input_audio_transcription.completed").await;
    assert_eq!(
        (&written["transcript"], &written["item_id"]),
        (&json!("What is the ring?"), &committed["item_id"])
    );
    let done = device.until("conversation.item.done").await;
    assert_eq!(done["item"]["content"][0]["transcript"], "What is the ring?");
    let asked = house.writer.asked().await;
    assert_eq!(asked.body["messages"][1]["content"], "What is the ring?");
    asked.writes("It is round.").await;
    asked.ends("stop").await;
    let done = device.until("response.done").await;
    assert_eq!(done["response"]["output"][0]["content"][0]["text"], "It is round.");
    // What was sent is a WAV that knows how long it is.
    let seen = proxy.wait_for_any("asked", |seen| seen.len() == 1).await;
    let sent = &seen[0].bytes;
    let begins = sent.windows(4).position(|four| four == b"RIFF").expect("a WAV");
    assert_eq!(sent[begins + 40..begins + 44], (sound.len() as u32).to_le_bytes());
    assert_eq!(sent[begins + 44..begins + 44 + sound.len()], sound);
    leave(device).await;
    over(&house.server).await;
}

#[tokio::test]
async fn what_cannot_be_heard_is_said_and_the_session_goes_on() {
    let (house, proxy) = house(SOON).await;
    let mut device = Device::open(&house.server, "").await;
    let commit = || event("input_audio_buffer.commit");
    assert_eq!(refused(&mut device, commit()).await, "input_audio_buffer_commit_empty");
    let wrong = json!({"type": "input_audio_buffer.append", "audio": "?"});
    assert_eq!(refused(&mut device, wrong).await, "invalid_value");
    device.send(append(&[0; 4_000])).await;
    assert_eq!(refused(&mut device, commit()).await, "input_audio_buffer_commit_empty");
    device.send(append(&[0; 4_000])).await;
    device.send(event("input_audio_buffer.clear")).await;
    device.until("input_audio_buffer.cleared").await;
    let is_small = |ledger: &Value| ledger["budget"]["reserved"].as_u64() < Some(1 << 20);
    house.server.wait("without the sound", is_small).await;
    assert_eq!(refused(&mut device, commit()).await, "input_audio_buffer_commit_empty");
    // Nobody said anything; then the transcriber is at a loss.
    for (answer, code) in
        [(r#"{"text":" "}"#, "nothing_said"), ("nonsense", "transcription_failed")]
    {
        understands(&proxy, answer);
        device.send(append(&[0; 9_600])).await;
        device.send(commit()).await;
        let failed = device.until("conversation.item.input_audio_transcription.failed").await;
        assert_eq!(failed["error"]["code"], code, "{failed}");
        device.until("conversation.item.done").await;
    }
    assert_eq!(refused(&mut device, event("response.create")).await, "no_question");
    leave(device).await;
    over(&house.server).await;
}

#[tokio::test]
async fn a_minute_is_heard_at_once_and_who_leaves_meanwhile_finds_what_was_understood() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let base = format!("http://{}/v1", listener.local_addr().expect("an address"));
    let mut house = House::start(&[("answer.transcriber.base_url", &base)]).await;
    let mut device = Device::open(&house.server, "").await;
    device.until("evensong.resume_token").await;
    let token = device.token();
    // No faster than twice as fast as it is spoken, behind a burst.
    device.send(append(&vec![0; 150_000])).await;
    device.send(event("input_audio_buffer.commit")).await;
    device.until("conversation.item.added").await;
    let (mut stream, _) = listener.accept().await.expect("it is asked");
    assert_eq!(refused(&mut device, append(&[0; 4_800])).await, "input_audio_buffer_busy");
    device.send(event("response.create")).await;
    assert_eq!(
        refused(&mut device, event("response.create")).await,
        "conversation_already_has_active_response"
    );
    let ledger =
        house.server.wait("written down", |ledger| live(ledger, "upstream_request") == 1).await;
    assert!(ledger["budget"]["reserved"].as_u64() > Some(MINUTE_BYTES as u64));
    let events = device.vanish();
    house.server.wait("without its device", |ledger| live(ledger, "session_timer") == 1).await;
    let mut recording = Vec::new();
    while !recording.ends_with(b"--\r\n") {
        assert!(stream.read_buf(&mut recording).await.expect("it comes") > 0, "it left");
    }
    let answer = r#"{"text": "What is the ring?"}"#;
    let head = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        answer.len()
    );
    stream.write_all(format!("{head}{answer}").as_bytes()).await.expect("taken");
    let mut device = Device::open(&house.server, &resume(&token, &events)).await;
    let written = device.until("conversation.item.input_audio_transcription.completed").await;
    assert_eq!(written["transcript"], "What is the ring?");
    let asked = house.writer.asked().await;
    asked.writes("It is round.").await;
    asked.ends("stop").await;
    device.until("response.done").await;
    drop(device);
}
