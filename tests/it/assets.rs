//! The page's files in their forms: what a client asks for is what it gets, each form decodes to the same bytes and has its own
//! tag, and the page costs a fraction on the wire.

use std::collections::HashSet;
use std::io::Read;

use crate::http::{Answer, Client};
use crate::server::TestServer;

const FORMS: [&str; 4] = ["identity", "gzip", "zstd", "br"];

async fn ask(client: &mut Client, method: &str, path: &str, fields: &str) -> Answer {
    let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{fields}\r\n");
    client.send(request.as_bytes()).await;
    if method == "HEAD" {
        let (status, headers) = client.head().await;
        return Answer { status, headers, body: Vec::new(), whole: true };
    }
    client.answer().await
}

async fn form(client: &mut Client, path: &str, accepted: &str) -> Answer {
    ask(client, "GET", path, &format!("accept-encoding: {accepted}\r\n")).await
}

fn decoded(answer: &Answer) -> Vec<u8> {
    let mut plain = Vec::new();
    let body = answer.body.as_slice();
    match answer.header("content-encoding") {
        "" => plain.extend_from_slice(body),
        "gzip" => drop(flate2::read::GzDecoder::new(body).read_to_end(&mut plain).expect("gzip")),
        "br" => brotli::BrotliDecompress(&mut &*body, &mut plain).expect("br"),
        "zstd" => zstd::stream::copy_decode(body, &mut plain).expect("zstd"),
        other => panic!("an unknown coding: {other}"),
    }
    plain
}

#[tokio::test]
async fn each_form_decodes_to_the_same_bytes_under_its_own_tag() {
    let server = TestServer::start(&[]).await;
    let mut client = server.connect().await;
    for path in ["/", "/docs", "/assets/app.js", "/assets/style.css", "/assets/icon.svg"] {
        let plain = ask(&mut client, "GET", path, "").await;
        assert_eq!((plain.status, plain.header("content-encoding")), (200, ""), "{path}");
        let mut tags = HashSet::new();
        for name in FORMS {
            let only = format!("{name}, *;q=0");
            let answer = form(&mut client, path, &only).await;
            let coding = if name == "identity" { "" } else { name };
            assert_eq!((answer.status, answer.header("content-encoding")), (200, coding), "{path}");
            assert!(decoded(&answer) == plain.body, "{path} as {name} is another file");
            for field in ["content-type", "cache-control", "content-security-policy"] {
                assert_eq!(answer.header(field), plain.header(field), "{path} as {name}");
            }
            assert_eq!(answer.header("vary"), "accept-encoding", "{path}");
            let tag = answer.header("etag").to_string();
            assert!(tag.starts_with('"') && tags.insert(tag.clone()), "{path}: {tag} stands twice");

            let head =
                ask(&mut client, "HEAD", path, &format!("accept-encoding: {only}\r\n")).await;
            assert_eq!(head.status, 200);
            for field in ["content-length", "content-encoding", "content-type", "etag", "vary"] {
                assert_eq!(head.header(field), answer.header(field), "HEAD {path} as {name}");
            }
            // The same form is known; another one is other bytes.
            for (known, status) in [(&*tag, 304), ("*", 304), ("\"other\"", 200)] {
                let fields = format!("accept-encoding: {only}\r\nif-none-match: {known}\r\n");
                let again = ask(&mut client, "GET", path, &fields).await;
                assert_eq!(
                    (again.status, again.header("etag")),
                    (status, &*tag),
                    "{path}: {known}"
                );
                assert_eq!(again.header("vary"), "accept-encoding", "{path}");
                assert_eq!(again.body.is_empty(), status == 304, "{path}");
                let expected = if status == 304 { "" } else { coding };
                assert_eq!(again.header("content-encoding"), expected, "{path}");
            }
            let weak = format!("accept-encoding: {only}\r\nif-none-match: \"x\", W/{tag}\r\n");
            assert_eq!(ask(&mut client, "GET", path, &weak).await.status, 304, "{path}: {weak}");
            let other = format!("accept-encoding: identity\r\nif-none-match: {tag}\r\n");
            let expected = if name == "identity" { 304 } else { 200 };
            assert_eq!(ask(&mut client, "GET", path, &other).await.status, expected, "{path}");
        }
    }
}

#[tokio::test]
async fn what_a_client_refuses_is_not_sent() {
    let server = TestServer::start(&[]).await;
    let mut client = server.connect().await;
    for (accepted, coding) in [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip, deflate", "gzip"),
        ("gzip;q=0.8, zstd;q=0.9, br;q=0.1", "zstd"),
        ("identity, br;q=0.5", ""),
        ("br;q=0", ""),
        ("", ""),
        ("deflate", ""),
        ("identity;q=0, gzip", "gzip"),
        ("*", "br"),
    ] {
        let answer = form(&mut client, "/assets/app.js", accepted).await;
        assert_eq!(
            (answer.status, answer.header("content-encoding")),
            (200, coding),
            "{accepted:?}"
        );
    }
    for accepted in ["identity;q=0", "*;q=0", "deflate, identity;q=0"] {
        let answer = form(&mut client, "/assets/app.js", accepted).await;
        assert_eq!(answer.status, 406, "{accepted}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
        assert_eq!(answer.json()["type"], "not_acceptable");
        assert_eq!(answer.header("vary"), "accept-encoding");
        assert!(
            answer.json()["detail"].as_str().is_some_and(|it| it.contains("br, ")),
            "{accepted}"
        );
    }
}

#[tokio::test]
async fn sound_has_one_form_and_modules_keep_their_types() {
    let server = TestServer::start(&[]).await;
    let mut client = server.connect().await;
    let sound = form(&mut client, "/assets/thinking.mp3", "br, gzip").await;
    assert_eq!((sound.status, sound.header("content-type")), (200, "audio/mpeg"));
    assert_eq!((sound.header("content-encoding"), sound.header("vary")), ("", ""));
    assert_eq!(sound.body, ask(&mut client, "GET", "/assets/thinking.mp3", "").await.body);
    for name in ["pcm-worklet.js", "app.js"] {
        let answer = form(&mut client, &format!("/assets/{name}"), "br").await;
        assert_eq!(answer.header("content-type"), "text/javascript; charset=utf-8", "{name}");
    }
}

/// What a browser loads for the page, in each form.
#[tokio::test]
async fn the_page_is_a_fraction_of_its_size_on_the_wire() {
    let server = TestServer::start(&[]).await;
    let mut client = server.connect().await;
    let mut sizes = [0; FORMS.len()];
    let mut left = vec!["/".to_string()];
    let mut seen = HashSet::new();
    while let Some(path) = left.pop() {
        // Sound has one form, and is another test's.
        if path.ends_with(".mp3") || !seen.insert(path.clone()) {
            continue;
        }
        for (name, size) in FORMS.iter().zip(&mut sizes) {
            let answer = form(&mut client, &path, name).await;
            assert_eq!(answer.status, 200, "{path}");
            *size += answer.body.len();
            if *name == "identity" {
                let text =
                    String::from_utf8(answer.body).unwrap_or_else(|_| panic!("{path}: text"));
                let named = text.split('"').filter(|part| part.starts_with("assets/"));
                left.extend(named.map(|name| format!("/{name}")));
                let imported =
                    text.split("from \"./").skip(1).filter_map(|it| it.split('"').next());
                left.extend(imported.map(|name| format!("/assets/{name}")));
            }
        }
    }
    let [plain, gzip, zstd, br] = sizes;
    println!("{} files: {plain} bytes; gzip {gzip}, zstd {zstd}, br {br}", seen.len());
    assert!(seen.len() > 50, "{} files", seen.len());
    assert!(br < gzip && br < zstd, "br is the largest");
    assert!(gzip * 2 < plain && br * 5 < plain * 2, "{plain}: gzip {gzip}, br {br}");
}
