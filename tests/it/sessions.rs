//! Voice sessions past their grace, by the hundred with errors among them, and under a server that is restarted. Invariant, after
//! each: everything is back, no timer runs, and whoever asks for what is over is told so.

use std::time::{Duration, Instant};

use evensong::ledger::Kind;
use futures_util::future::join_all;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::time::{advance, pause};
use tokio_tungstenite::tungstenite::Message;

use crate::child::ChildServer;
use crate::dialogue::House;
use crate::http::Client;
use crate::realtime::{Device, Ended, numbers, resume};
use crate::server::{TestServer, live};
use crate::writer::{Asked, Writer};

/// What a session held for a device that had left, by the incident's own arithmetic.
const INCIDENT_BYTES: u64 = 215 * 1024;

/// From here on the clock moves only where a test moves it, though what comes from outside takes its time. Dropped, it goes on.
fn hold_the_clock() -> std::sync::mpsc::Sender<()> {
    let (held, over) = std::sync::mpsc::channel();
    // While something blocks, a paused clock does not move by itself.
    tokio::task::spawn_blocking(move || over.recv());
    pause();
    held
}

/// Bytes that are promised, and those of them that are held.
async fn books(server: &TestServer) -> (u64, u64) {
    let budget = server.ledger().await["budget"].clone();
    let bytes = |name: &str| budget[name].as_u64().expect("a number");
    (bytes("reserved"), bytes("held"))
}

async fn without_its_device(server: &TestServer) {
    let gone = |ledger: &Value| {
        (live(ledger, "session_timer"), live(ledger, "job"), live(ledger, "connection"))
            == (1, 0, 0)
    };
    server.wait("without its device", gone).await;
}

#[tokio::test]
async fn a_device_may_be_gone_for_59_seconds_and_nothing_is_held_for_it_after_61() {
    let mut house = House::start(&[]).await;
    let server = &house.server;
    let mut device = Device::open(server, "").await;
    device.ask("Tell me all.", Value::Null).await;
    let asked = house.writer.asked().await;
    asked.writes(&"It was a dark night, and nobody knew what would come of it. ".repeat(20)).await;
    asked.ends("stop").await;
    device.until("response.output_audio.delta").await;
    let token = device.token();
    let mut heard = device.vanish();
    without_its_device(server).await;
    let _held = hold_the_clock();
    advance(Duration::from_secs(59)).await;
    // It is back, and twice: the newer connection has it, and the older one's late close does nothing.
    let mut older = Device::open(server, &resume(&token, &heard)).await;
    assert_eq!(older.next().await.expect("an event")["type"], "evensong.resumed");
    let mut device = Device::open(server, &resume(&token, &heard)).await;
    assert_eq!(device.next().await.expect("an event")["type"], "evensong.resumed");
    assert!(matches!(older.ended().await, Ended::Closed(1008, _)));
    drop(older);
    // What was sent on it is looked after until the kernel is rid of it.
    advance(Duration::from_secs(1)).await;
    server.wait("the older one is gone", |ledger| live(ledger, "connection") == 1).await;
    device.until("response.output_audio.delta").await;
    heard.extend(device.vanish());
    without_its_device(server).await;
    let at_once = books(server).await;
    advance(Duration::from_secs(59)).await;
    let after_59 = books(server).await;
    assert_eq!((server.live("session_timer").await, after_59), (1, at_once), "it is expected");
    advance(Duration::from_secs(2)).await;
    server.idle().await;
    let after_61 = books(server).await;
    println!(
        "a session with audio, after its device has left (reserved, held): at once {at_once:?}, 59 s {after_59:?}, 61 s {after_61:?}; the incident's held {INCIDENT_BYTES} for ever"
    );
    assert_eq!(after_61, (0, 0));
    assert!(at_once.1 > 0, "nothing was held for it to come back to");
    let numbers = numbers(&heard);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let mut late = Device::open(server, &resume(&token, &heard)).await;
    assert_eq!(late.next().await.expect("an event")["error"]["code"], "session_lost");
}

/// What breaks the protocol, and the code by which that is told.
async fn breaks_a_rule(device: &mut Device, which: usize) -> u16 {
    match which % 3 {
        0 => device.socket.send(Message::binary(vec![1, 2, 3])).await.expect("it is taken"),
        1 => {
            let raw = device.socket.get_mut();
            raw.write_all(b"\x81\x82\0\0\0\0\xff\xfe").await.expect("it is taken");
        }
        _ => device.socket.get_mut().write_all(b"\x81\x02hi").await.expect("it is taken"),
    }
    [1003, 1007, 1002][which % 3]
}

/// Asks, and hears the beginning of the answer; one that finds no place at the engine asks again.
async fn is_answered(server: &TestServer, device: &mut Device, number: usize) {
    let response = match number % 5 {
        0 => Value::Null,
        _ => json!({"output_modalities": ["text"]}),
    };
    device.ask(&format!("{number}"), response.clone()).await;
    loop {
        match device.next().await.expect("an event")["type"].as_str() {
            Some("response.content_part.added") => return,
            // Or the model is dead before it has said anything.
            Some("error" | "response.done") => {
                let began = Instant::now();
                while server.server.services.ledger.live(Kind::Job) > 0 {
                    assert!(began.elapsed() < Duration::from_secs(10), "the engine is never done");
                    tokio::task::yield_now().await;
                }
                device.send(json!({"type": "response.create", "response": response})).await;
            }
            _ => {}
        }
    }
}

/// Hears to the end whatever answer is not over.
async fn hears_out(device: &mut Device) {
    let count = |device: &Device, kind: &str| {
        device.events.iter().filter(|event| event["type"] == kind).count()
    };
    while count(device, "response.done") < count(device, "response.created") {
        device.next().await.expect("an event");
    }
}

/// One session of many: it is answered, and breaks off in one of five ways.
async fn one(server: &TestServer, mut device: Device, number: usize) {
    device.until("evensong.resume_token").await;
    let token = device.token();
    for round in 0..2 {
        is_answered(server, &mut device, number).await;
        let query = || resume(&token, &device.events);
        match (number + round) % 5 {
            // The model dies at some, and others hear it out.
            0 | 1 => hears_out(&mut device).await,
            2 => {
                let code = breaks_a_rule(&mut device, number).await;
                assert!(matches!(device.ended().await, Ended::Closed(closed, _) if closed == code));
                // What tells of the fault is of that connection alone.
                device.events.retain(|event| event.get("session_id").is_none());
                let mut again = Device::open(server, &resume(&token, &device.events)).await;
                assert_eq!(again.next().await.expect("an event")["type"], "evensong.resumed");
                again.events = [device.events, again.events].concat();
                device = again;
                hears_out(&mut device).await;
            }
            3 => {
                let mut again = Device::open(server, &query()).await;
                assert_eq!(again.next().await.expect("an event")["type"], "evensong.resumed");
                again.events = [device.vanish(), again.events].concat();
                device = again;
                hears_out(&mut device).await;
            }
            _ => {
                device.vanish();
                return;
            }
        }
    }
    let numbers = numbers(&device.events);
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>(), "lost, or told twice");
}

/// Answers whoever asks; every fourth is left in the middle.
async fn writes(writer: &mut Writer) {
    let answer = |asked: Asked, number: usize| async move {
        let _ = asked.tries(&chunk("It was a dark night. ")).await;
        if number.is_multiple_of(4) {
            return asked.dies().await;
        }
        asked.tries(&chunk("Nobody knew why.")).await;
        let over = json!({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]});
        asked.tries(&format!("data: {over}\n\ndata: [DONE]\n\n")).await;
    };
    for number in 0.. {
        let asked = writer.asked().await;
        answer(asked, number).await;
    }
}

fn chunk(text: &str) -> String {
    let chunk = json!({"choices": [{"index": 0, "delta": {"content": text}}]});
    format!("data: {chunk}\n\n")
}

#[tokio::test]
async fn a_hundred_sessions_with_errors_among_them_leave_nothing() {
    let mut house = House::start(&[("realtime.grace_seconds", "1")]).await;
    let server = &house.server;
    let devices = join_all((0..100).map(|_| Device::open(server, ""))).await;
    assert_eq!(server.live("session").await, 100);
    let all = futures_util::stream::iter(devices.into_iter().enumerate());
    let all = all.for_each_concurrent(20, |(number, device)| one(server, device, number));
    tokio::select! {
        () = all => {}
        () = writes(&mut house.writer) => unreachable!("it writes for ever"),
    }
    // Those that left wait for their devices, each for its own second.
    let began = Instant::now();
    while server.live("session").await > 0 {
        assert!(began.elapsed() < Duration::from_secs(10), "sessions stay");
    }
    let ledger = server.idle().await;
    assert_eq!((live(&ledger, "session_timer"), live(&ledger, "dialogue")), (0, 0));
    let metrics = Client::connect(server.server.admin).await.get("/metrics").await;
    let metrics = String::from_utf8(metrics.body).expect("text");
    assert!(metrics.contains("evensong_sessions_stale_total 0"), "{metrics}");
}

#[tokio::test]
async fn a_restart_under_a_hundred_sessions_ends_them_well_and_the_next_server_knows_that() {
    let data = tempfile::tempdir().expect("a folder");
    let mut writer = Writer::start().await;
    let base = writer.base.clone();
    let env = [
        ("EVENSONG_DATA", data.path().to_str().expect("text")),
        ("EVENSONG_SEARCH_ENABLED", "false"),
        ("EVENSONG_MEDIA_ENABLED", "false"),
        ("EVENSONG_ANSWER_LLM_BASE_URL", base.as_str()),
        ("EVENSONG_ANSWER_LLM_MODEL", "small"),
    ];
    let mut server = ChildServer::start(&[], &env).await;
    let address = server.listen;
    let mut devices = join_all((0..100).map(|_| Device::at(address, ""))).await;
    let mut answers = Vec::new();
    for (number, device) in devices.iter_mut().enumerate() {
        device.until("evensong.resume_token").await;
        if number % 4 == 0 {
            // In the middle of an answer.
            device.ask("Tell me all.", Value::Null).await;
            let asked = writer.asked().await;
            asked.writes("It was a dark night, and nobody knew what would come of it. And").await;
            device.until("response.output_audio.delta").await;
            answers.push(asked);
        }
    }
    let told = Instant::now();
    server.signal(rustix::process::Signal::TERM);
    let ends = devices.iter_mut().map(|device| async {
        let ended = device.ended().await;
        (ended, told.elapsed())
    });
    let ends = join_all(ends).await;
    let wanted = Ended::Closed(1001, "the server is shutting down".into());
    assert!(ends.iter().all(|(ended, _)| *ended == wanted), "{ends:?}");
    let last = ends.iter().map(|(_, after)| *after).max().expect("a hundred");
    let status = server.child.wait().await.expect("its end");
    let exit = told.elapsed();
    println!(
        "a hundred sessions: the last was closed with 1001 after {last:?}, the process ended after {exit:?}"
    );
    assert!(last < Duration::from_secs(1), "{last:?}");
    assert!(status.success() && exit < Duration::from_secs(5), "{status} after {exit:?}");
    let listen = address.to_string();
    let mut next = ChildServer::start(&["--listen", &listen], &env).await;
    let lost = devices.iter().map(|device| async move {
        let mut again = Device::at(address, &resume(&device.token(), &device.events)).await;
        let lost = again.next().await.expect("an event")["error"]["code"].clone();
        assert_eq!(lost, "session_lost");
        assert!(matches!(again.ended().await, Ended::Closed(1008, _)));
    });
    join_all(lost).await;
    let began = Instant::now();
    while next.admin("/debug/ledger").await.json()["idle"] != true {
        assert!(began.elapsed() < Duration::from_secs(5), "something stays of those that asked");
    }
    next.stop().await;
}
