//! Upstreams that mean harm, or know no better: answers that are no audio, without end, in the smallest pieces, of
//! another rate, or of a length that is not theirs.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::fault_proxy::{Fault, FaultProxy};
use crate::http::post;
use crate::server::live;
use crate::upstream::{House, canned, code, long, near, wish};

#[tokio::test]
async fn pcm_of_another_rate_is_made_ours_and_never_passed_on_as_if_it_were() {
    let house = House::start(&[]).await;
    let at = |rate: &str| {
        let head = format!("200 OK\r\ncontent-type: audio/pcm;rate={rate}");
        canned(&head, &[0; 96_000])
    };
    assert_eq!(house.with(at("24000")).await.body.len(), 96_000);
    for (rate, bytes) in [("48000", 48_000), ("16000", 144_000)] {
        let answer = house.with(at(rate)).await;
        assert_eq!((answer.status, answer.whole), (200, true));
        assert!(answer.body.len().abs_diff(bytes) < 200, "{rate}: {} bytes", answer.body.len());
    }
    let settings = [("speech.openai.pcm_hz", "48000")];
    let near = near(&house.proxy, &settings).await;
    house.proxy.set(canned("200 OK\r\ncontent-type: audio/pcm", &[0; 96_000]));
    assert!(near.speech(&wish("pcm")).await.body.len().abs_diff(48_000) < 200);
    // What the answer says wins over what the settings do.
    house.proxy.set(at("24000"));
    assert_eq!(near.speech(&wish("pcm")).await.body.len(), 96_000);
    near.idle().await;
}

#[tokio::test]
async fn the_smallest_chunks_are_brought_as_they_come_and_cost_no_more() {
    let mut answer =
        b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ntransfer-encoding: chunked\r\n\r\n"
            .to_vec();
    for n in 0..60_001u32 {
        answer.extend_from_slice(&[b'1', b'\r', b'\n', (n % 251) as u8, b'\r', b'\n']);
    }
    let expected: Vec<u8> = (0..60_000u32).map(|n| (n % 251) as u8).collect();
    for formats in ["mp3,opus,flac,wav,pcm", "pcm"] {
        let house = House::start(&[("speech.openai.formats", formats)]).await;
        let whole = [&answer[..answer.len() - 6], b"0\r\n\r\n"].concat();
        house.proxy.set(Fault::Canned(whole));
        for input in [long(), "Short.".into()] {
            for format in ["pcm", "wav"] {
                if format == "wav" && formats != "pcm" {
                    continue;
                }
                let answer = house.speak(&json!({"input": input, "response_format": format})).await;
                let got = if format == "wav" { &answer.body[44..] } else { &answer.body[..] };
                assert!(answer.whole && got == expected, "{formats} {format}: {}", got.len());
            }
        }
        // Kept in pieces that are worth it, of both formats.
        let ledger = house.near.idle().await;
        assert!(live(&ledger, "phrase") >= 1);
    }
    // Half a sample is no end.
    let house = House::start(&[("speech.openai.formats", "pcm")]).await;
    house.proxy.set(Fault::Canned([&answer[..], b"0\r\n\r\n"].concat()));
    assert!(!house.speak(&wish("wav")).await.whole);
}

#[tokio::test]
async fn those_who_join_a_phrase_hear_of_its_failure_as_the_first_does() {
    let house = House::start(&[("speech.fallback", "tone")]).await;
    for (fault, expected) in [
        (canned("400 Bad Request", b"{\"detail\":\"no\"}"), (400, "upstream_refused")),
        (canned("429 Too Many Requests\r\nretry-after: 30", b"{}"), (200, "")),
    ] {
        house.proxy.set(fault);
        let body = json!({"input": "Said by all at once."});
        let request = post("/v1/audio/speech", body.to_string().as_bytes());
        let mut clients = Vec::new();
        for _ in 0..10 {
            let mut client = house.near.connect().await;
            client.send(&request).await;
            clients.push(client);
        }
        for client in &mut clients {
            let answer = client.answer().await;
            assert_eq!(answer.status, expected.0, "{}", String::from_utf8_lossy(&answer.body));
            if expected.0 != 200 {
                assert_eq!(code(&answer).1, expected.1);
            }
        }
    }
    house.near.idle().await;
}

#[tokio::test]
async fn an_answer_whose_end_is_only_its_connections_is_passed_on_and_not_kept() {
    let house = House::start(&[]).await;
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\nconnection: close\r\n\r\n";
    house.proxy.set(Fault::Canned([&head[..], &[1; 4000]].concat()));
    let body = json!({"input": "Not kept.", "response_format": "pcm"});
    for _ in 0..2 {
        let answer = house.speak(&body).await;
        assert_eq!((answer.body.len(), answer.header("x-cache")), (4000, "miss"));
    }
}

#[tokio::test]
async fn an_upstream_sees_that_a_client_has_left_while_the_head_of_its_wav_is_awaited() {
    let house = House::start(&[("speech.openai.formats", "wav")]).await;
    let head =
        b"HTTP/1.1 200 OK\r\ncontent-type: audio/wav\r\ncontent-length: 9000\r\n\r\nRIFF".to_vec();
    house.proxy.set(Fault::Canned(head));
    for input in [long(), "Short.".into()] {
        let before = house.proxy.asked_to_speak().len();
        let mut client = house.near.connect().await;
        let body = json!({"input": input});
        client.send(&post("/v1/audio/speech", body.to_string().as_bytes())).await;
        house.proxy.wait("given", |seen| seen.len() > before && seen[before].given > 0).await;
        let left = Instant::now();
        drop(client);
        house.near.idle().await;
        assert!(left.elapsed() < Duration::from_secs(1), "{:?}", left.elapsed());
        assert_eq!(house.near.live("upstream_request").await, 0);
    }
}

#[tokio::test]
async fn endless_audio_is_cut_by_bytes_and_by_time() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\n\r\n".to_vec();
    let endless = Fault::Endless(head, vec![1; 8192]);
    for (key, value) in [("speech.openai.max_bytes", "200000"), ("upstream.total_seconds", "1")] {
        for formats in ["mp3,opus,flac,wav,pcm", "pcm"] {
            let house = House::start(&[(key, value), ("speech.openai.formats", formats)]).await;
            house.proxy.set(endless.clone());
            let format = if formats == "pcm" { "wav" } else { "pcm" };
            let answer = house.speak(&wish(format)).await;
            assert_eq!((answer.status, answer.whole), (200, false), "{key} {format}");
            if key == "speech.openai.max_bytes" {
                assert!(answer.body.len() <= 200_100, "{} bytes", answer.body.len());
            }
            house.proxy.wait("left", |seen| seen[0].left.is_some()).await;
            house.near.idle().await;
        }
    }
}

#[tokio::test]
async fn what_is_no_audio_is_502_and_little_of_it_is_read() {
    let page = [b"<html>".as_slice(), &[b'x'; 1_000_000]].concat();
    for (fault, code_is) in [
        (canned("200 OK\r\ncontent-type: text/html", &page), "upstream_failed"),
        (canned("200 OK\r\ncontent-type: audio/mpeg", b"ID3"), "upstream_failed"),
        (canned("200 OK\r\ncontent-type: application/json", b"{\"error\":1}"), "upstream_failed"),
        (canned("500 Internal Server Error", &page), "upstream_failed"),
        (canned("200 OK\r\ncontent-type: audio/pcm", b""), "upstream_failed"),
        (canned("206 Partial Content\r\ncontent-type: audio/pcm", &[1; 100]), "upstream_failed"),
        (canned("200 OK", b"{\"error\":\"boom\"}"), "upstream_failed"),
        (canned("200 OK\r\ncontent-type: audio/pcm;rate=24000;channels=2", &[1; 100]), "upstream_failed"),
        (canned("200 OK\r\ncontent-type: audio/l16;rate=24000", &[1; 100]), "upstream_failed"),
        (canned("200 OK\r\ncontent-type: audio/pcm\r\ncontent-encoding: identity\r\ncontent-encoding: br", &[1; 100]), "upstream_failed"),
        (Fault::Canned(b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n".to_vec()), "upstream_failed"),
        (Fault::Canned(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()), "upstream_failed"),
        (Fault::Canned(vec![0; 100_000]), "upstream_failed"),
        (canned("302 Found\r\nlocation: http://169.254.169.254/latest", b""), "upstream_failed"),
        (canned("401 Unauthorized", b"{\"error\":{\"message\":\"bad key\"}}"), "upstream_denied"),
    ] {
        // Each with a breaker of its own.
        let house = House::start(&[]).await;
        let answer = house.with(fault.clone()).await;
        assert_eq!(code(&answer), (502, code_is.into()), "{fault:.80?}");
        let seen = house.proxy.asked_to_speak();
        assert_eq!(seen.len(), 1, "{fault:.80?}");
        house.near.idle().await;
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let house = House::start(&[]).await;
    let elsewhere = FaultProxy::start(None).await;
    let to = format!("307 Temporary Redirect\r\nlocation: {}/audio/speech", elsewhere.base());
    let answer = house.with(canned(&to, b"")).await;
    assert_eq!(code(&answer), (502, "upstream_failed".into()));
    assert!(answer.json()["error"]["message"].as_str().expect("one").contains("not followed"));
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_coding_in_which_little_becomes_much_is_refused() {
    let house = House::start(&[]).await;
    let bomb = canned("200 OK\r\ncontent-type: audio/pcm\r\ncontent-encoding: gzip", &[31; 10_000]);
    let answer = house.with(bomb).await;
    assert_eq!(code(&answer), (502, "upstream_failed".into()));
    assert!(answer.json()["error"]["message"].as_str().expect("one").contains("gzip"));
    house.near.idle().await;
}
