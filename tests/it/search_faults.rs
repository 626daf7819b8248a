//! What a search engine may do to us: an engine in the test's own process that answers as it is told. Speech beside it does not
//! notice, and nothing is left behind.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use serde_json::{Value, json};

use super::http::Answer;
use super::server::TestServer;

/// How it behaves when it is searched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Well,
    /// Says nothing.
    Silent,
    /// A JSON that does not end.
    Endless,
    /// One that says how long it is.
    Huge,
    Html,
    Garbage,
    Status(u16),
    TimedOut,
    /// Its state is red, and it searches nothing.
    Red,
    /// Takes nothing, since its disk is nearly full.
    Blocked,
    /// Sends us elsewhere.
    Redirect,
}

struct Engine {
    mood: Mutex<Mood>,
    searches: AtomicU64,
    bulks: AtomicU64,
    /// The next so many bulks have no room for any document.
    full: AtomicU64,
    /// What was asked last.
    asked: Mutex<String>,
    snapshots: AtomicU64,
    /// Whether somebody took the index away.
    gone: AtomicU64,
}

impl Engine {
    async fn start() -> (Arc<Self>, String) {
        let this = Arc::new(Self {
            mood: Mutex::new(Mood::Well),
            searches: AtomicU64::new(0),
            bulks: AtomicU64::new(0),
            full: AtomicU64::new(0),
            asked: Mutex::default(),
            snapshots: AtomicU64::new(0),
            gone: AtomicU64::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let router = Router::new().fallback(answer).with_state(Arc::clone(&this));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (this, url)
    }

    fn set(&self, mood: Mood) {
        *self.mood.lock().expect("whole") = mood;
    }

    fn mood(&self) -> Mood {
        *self.mood.lock().expect("whole")
    }
}

async fn answer(State(engine): State<Arc<Engine>>, request: Request) -> Response {
    let path = request.uri().path().to_string();
    let query = request.uri().query().unwrap_or_default().to_string();
    let body = axum::body::to_bytes(request.into_body(), 64 << 20).await.expect("a body");
    if path == "/_cluster/health" {
        let status = if engine.mood() == Mood::Red { "red" } else { "green" };
        return axum::Json(json!({ "status": status })).into_response();
    }
    if path.ends_with("/_pit") {
        engine.snapshots.fetch_add(1, Relaxed);
        return axum::Json(json!({ "id": "snapshot" })).into_response();
    }
    if path.ends_with("/_bulk") {
        // Without this an engine makes an index of its own in the place of the alias.
        assert!(query.contains("require_alias=true"), "{query}");
        return bulk(&engine, &body);
    }
    if path.ends_with("/_search") {
        *engine.asked.lock().expect("whole") =
            format!("{query} {}", String::from_utf8_lossy(&body));
        return search(&engine).await;
    }
    // Aliases, templates, indices: all is as it should be, unless somebody took the index away.
    let found = path.starts_with("/_alias/");
    if found && engine.gone.load(Relaxed) > 0 {
        return (StatusCode::NOT_FOUND, axum::Json(json!({ "error": "alias missing" })))
            .into_response();
    }
    if path == "/_aliases" {
        engine.gone.store(0, Relaxed);
    }
    let said = if found { json!({ "evensong-v1": {} }) } else { json!({ "acknowledged": true }) };
    axum::Json(said).into_response()
}

fn bulk(engine: &Engine, body: &Bytes) -> Response {
    engine.bulks.fetch_add(1, Relaxed);
    let is_blocked = engine.mood() == Mood::Blocked;
    let full = engine.full.load(Relaxed) > 0;
    if full {
        engine.full.fetch_sub(1, Relaxed);
    }
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let documents: Vec<_> = lines.skip(1).step_by(2).collect();
    let items = documents.iter().enumerate().map(|(number, line)| {
        let wrong = String::from_utf8_lossy(line).contains("unwanted");
        let blocked = json!({ "status": 403, "error": { "type": "cluster_block_exception", "reason": "read-only" } });
        json!({ "index": match (full && number % 2 == 0, wrong) {
            _ if is_blocked => blocked,
            (true, _) => json!({ "status": 429, "error": { "type": "es_rejected_execution_exception" } }),
            (_, true) => json!({ "status": 400, "error": { "type": "document_parsing_exception", "reason": "no such thing" } }),
            _ => json!({ "status": 201 }),
        } })
    });
    axum::Json(json!({ "items": items.collect::<Vec<_>>() })).into_response()
}

async fn search(engine: &Engine) -> Response {
    engine.searches.fetch_add(1, Relaxed);
    let json = [("content-type", "application/json")];
    match engine.mood() {
        Mood::Well | Mood::Blocked => {
            let hit = json!({
                "_score": 1.5, "sort": [1.5, 7],
                "_source": { "id": "a", "title": "A", "created_at": "2026-01-01T00:00:00Z" },
            });
            let total = json!({ "value": 1, "relation": "eq" });
            let said =
                json!({ "_shards": { "total": 1 }, "hits": { "total": total, "hits": [hit] } });
            axum::Json(said).into_response()
        }
        Mood::Silent => std::future::pending().await,
        Mood::Endless => {
            let chunk = Bytes::from(vec![b' '; 64 << 10]);
            let chunks =
                futures_util::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
            (json, Body::from_stream(chunks)).into_response()
        }
        Mood::Huge => (json, vec![b' '; 9 << 20]).into_response(),
        Mood::Html => axum::response::Html("<h1>A gateway</h1>").into_response(),
        Mood::Garbage => (json, r#"{"hits":{"total":"many"}}"#).into_response(),
        Mood::Status(status) => StatusCode::from_u16(status).expect("a status").into_response(),
        Mood::TimedOut => {
            let total = json!({ "value": 0, "relation": "eq" });
            let said = json!({ "_shards": { "total": 1 }, "timed_out": true, "hits": { "total": total, "hits": [] } });
            axum::Json(said).into_response()
        }
        Mood::Red => {
            let error = json!({ "error": { "type": "search_phase_execution_exception", "reason": "all shards failed" }, "status": 503 });
            (StatusCode::SERVICE_UNAVAILABLE, axum::Json(error)).into_response()
        }
        Mood::Redirect => {
            (StatusCode::FOUND, [("location", "http://169.254.169.254/")]).into_response()
        }
    }
}

async fn server(url: &str) -> TestServer {
    let server = TestServer::start(&[
        ("search.elasticsearch_url", url),
        ("search.enabled", "true"),
        ("data", "/nonexistent/nowhere"),
        ("insecure_admin", "true"),
    ])
    .await;
    until(&server, "ready", |ready| ready["search"]["ready"] == true).await;
    server
}

/// Waits until readiness says what is `wanted`.
async fn until(server: &TestServer, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    let began = Instant::now();
    loop {
        let ready = server.get("/readyz").await;
        assert_eq!(ready.status, 200, "whatever is searched, it speaks");
        if wanted(&ready.json()) {
            return ready.json();
        }
        assert!(began.elapsed() < Duration::from_secs(20), "not {what}: {}", ready.json());
        tokio::task::yield_now().await;
    }
}

/// Searches; how long it took is within what is promised, and beside it somebody speaks.
async fn ask(server: &TestServer) -> Answer {
    let began = Instant::now();
    let speech = json!({ "input": "Beside a search.", "response_format": "pcm" });
    let (answer, spoken) = tokio::join!(server.get("/api/search?q=x"), server.speech(&speech));
    assert_eq!((spoken.status, spoken.whole), (200, true), "speech does not notice");
    assert!(began.elapsed() < Duration::from_millis(2700), "{:?}", began.elapsed());
    answer
}

async fn is_clean(server: &TestServer) {
    let ledger = server.idle().await;
    assert_eq!(ledger["budget"]["reserved"], 0, "{ledger:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_an_engine_answers_it_is_said_in_time_and_speech_goes_on() {
    let (engine, url) = Engine::start().await;
    let server = server(&url).await;
    assert_eq!(ask(&server).await.json()["hits"][0]["id"], "a");
    for (mood, status, said) in [
        (Mood::Endless, 502, "upstream_failed"),
        (Mood::Huge, 502, "upstream_failed"),
        (Mood::Html, 502, "upstream_failed"),
        (Mood::Garbage, 502, "upstream_failed"),
        (Mood::Redirect, 502, "upstream_failed"),
        (Mood::Status(500), 502, "upstream_failed"),
        (Mood::Status(401), 502, "upstream_denied"),
        (Mood::TimedOut, 503, "search_timeout"),
        (Mood::Silent, 503, "search_unavailable"),
    ] {
        engine.set(mood);
        let answer = ask(&server).await;
        assert_eq!(
            (answer.status, &answer.json()["type"]),
            (status, &json!(said)),
            "{mood:?}: {}",
            answer.json()
        );
        if status == 503 {
            assert!(!answer.header("retry-after").is_empty(), "{mood:?}");
        }
        engine.set(Mood::Well);
        assert_eq!(ask(&server).await.status, 200, "after {mood:?}");
    }
    is_clean(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_red_engine_is_said_by_readiness_and_comes_back() {
    let (engine, url) = Engine::start().await;
    let server = server(&url).await;
    engine.set(Mood::Red);
    let answer = ask(&server).await;
    assert_eq!(answer.status, 503, "{}", answer.json());
    let ready = until(&server, "told", |ready| ready["search"]["ready"] == false).await;
    assert!(ready["search"]["detail"].as_str().is_some_and(|why| why.contains("red")), "{ready}");
    engine.set(Mood::Well);
    until(&server, "back", |ready| ready["search"]["ready"] == true).await;
    is_clean(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_that_is_not_there_is_503_at_once_and_is_found_when_it_comes() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    let url = format!("http://{address}");
    let server = TestServer::start(&[
        ("search.elasticsearch_url", &url),
        ("search.enabled", "true"),
        ("data", "/nonexistent"),
        ("insecure_admin", "true"),
    ])
    .await;
    let answer = ask(&server).await;
    assert_eq!((answer.status, &answer.json()["type"]), (503, &json!("search_unavailable")));
    let document = br#"{"id":"a","title":"A"}"#;
    let answer = server.connect().await.post("/api/search/documents", document).await;
    assert_eq!((answer.status, &answer.json()["type"]), (503, &json!("search_unavailable")));
    until(&server, "told", |ready| {
        ready["search"]["detail"].as_str().is_some_and(|why| why != "starting")
    })
    .await;
    is_clean(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_are_sent_again_while_there_is_no_room_and_only_what_is_refused_is_given_up() {
    let (engine, url) = Engine::start().await;
    let server = server(&url).await;
    engine.full.store(3, Relaxed);
    let line = |id: &str, title: &str| json!({ "id": id, "title": title }).to_string();
    let body = [line("a", "A"), line("b", "unwanted"), line("c", "C"), line("d", "D")].join("\n");
    let mut client = server.connect().await;
    let answer = client.post("/api/search/documents", body.as_bytes()).await;
    let said = answer.json();
    assert_eq!(
        (answer.status, &said["indexed"], &said["rejected"]),
        (200, &json!(3), &json!(1)),
        "{said}"
    );
    let error = &said["items"][1]["error"]["message"];
    assert_eq!(*error, "document_parsing_exception: no such thing");
    assert_eq!(engine.bulks.load(Relaxed), 4, "all, then those without room, until there is some");
    // That the whole index is blocked is no fault of a document's.
    engine.full.store(0, Relaxed);
    engine.set(Mood::Blocked);
    let answer = client.post("/api/search/documents", body.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["type"]), (503, &json!("search_unavailable")));
    assert!(answer.json()["detail"].to_string().contains("cluster_block_exception"));
    engine.set(Mood::Well);
    // Where there is never any, it is said, and nothing is taken for kept.
    engine.full.store(u64::MAX, Relaxed);
    let answer = client.post("/api/search/documents", body.as_bytes()).await;
    assert_eq!((answer.status, &answer.json()["type"]), (503, &json!("search_unavailable")));
    drop(client);
    is_clean(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_is_asked_for_no_more_than_is_shown() {
    let (engine, url) = Engine::start().await;
    let server = server(&url).await;
    for _ in 0..20 {
        assert_eq!(server.get("/api/search?q=one+two&limit=7").await.status, 200);
    }
    assert_eq!(engine.snapshots.load(Relaxed), 1, "one is made for all who come within a moment");
    let asked = engine.asked.lock().expect("whole").clone();
    let (query, body) = asked.split_once(' ').expect("both");
    let body: Value = serde_json::from_str(body).expect("JSON");
    assert!(query.contains("filter_path=") && query.contains("allow_partial_search_results=false"));
    assert_eq!((&body["size"], &body["track_total_hits"]), (&json!(8), &json!(10_000)));
    assert!(!body["_source"].as_array().expect("fields").contains(&json!("text")));
    assert!(body["timeout"].is_string() && body["pit"]["id"] == "snapshot");
    is_clean(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_leaves_while_an_engine_thinks_is_forgotten() {
    let (engine, url) = Engine::start().await;
    let server = server(&url).await;
    assert_eq!(ask(&server).await.status, 200);
    engine.set(Mood::Silent);
    let before = engine.searches.load(Relaxed);
    let mut client = server.connect().await;
    client.send(b"GET /api/search?q=x HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    server
        .wait("searched", |ledger| {
            super::server::live(ledger, "search") == 1 && engine.searches.load(Relaxed) > before
        })
        .await;
    drop(client);
    is_clean(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_generation_answers_while_the_old_one_ends() {
    let (_engine, url) = Engine::start().await;
    let server = server(&url).await;
    for round in 2..6 {
        server.server.services.roll.rotate();
        let began = Instant::now();
        loop {
            assert_eq!(server.get("/api/search?q=x").await.status, 200);
            let rows = server.server.services.roll.rows();
            let row = rows.iter().find(|row| row.name == "ES").expect("in the roll");
            if row.state.generation >= round && row.state.draining == 0 {
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(5));
        }
    }
    is_clean(&server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_index_that_is_gone_is_made_anew() {
    let (engine, url) = Engine::start().await;
    let server = server(&url).await;
    engine.gone.store(1, Relaxed);
    engine.set(Mood::Status(404));
    let answer = ask(&server).await;
    assert_eq!((answer.status, &answer.json()["type"]), (503, &json!("search_unavailable")));
    until(&server, "told", |ready| ready["search"]["ready"] == false).await;
    engine.set(Mood::Well);
    until(&server, "back", |ready| ready["search"]["ready"] == true).await;
    assert_eq!(engine.gone.load(Relaxed), 0, "it was made anew");
    assert_eq!(ask(&server).await.status, 200);
}
