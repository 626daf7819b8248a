//! The indexer, over a GraphQL source in the test's own process that can be told to misbehave. What it brought is counted by
//! asking the index for all of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use super::server::TestServer;

const PATIENCE: Duration = Duration::from_secs(30);

/// A source, and what is wrong with it.
#[derive(Default)]
struct Source {
    records: AtomicUsize,
    height: AtomicU64,
    /// Answers with this status instead.
    status: AtomicU64,
    /// Every page ends with the cursor that it began with.
    circles: AtomicBool,
    partial: AtomicBool,
    html: AtomicBool,
    /// Records of these numbers have no time.
    broken: Mutex<Vec<usize>>,
    /// The record of this number comes as another one with the same id, too.
    twice: AtomicUsize,
    pages: AtomicUsize,
    /// Whether records are left out which were there before.
    every_other: AtomicBool,
}

impl Source {
    /// Starts one of `records`.
    async fn start(records: usize) -> (Arc<Self>, String) {
        let this = Arc::new(Self::default());
        this.records.store(records, Relaxed);
        this.height.store(5000, Relaxed);
        this.twice.store(usize::MAX, Relaxed);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address: SocketAddr = listener.local_addr().expect("bound");
        let router = Router::new().route("/graphql", post(answer)).with_state(Arc::clone(&this));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (this, format!("http://{address}/graphql"))
    }

    fn node(&self, number: usize) -> Value {
        let is_broken = self.broken.lock().expect("whole").contains(&number);
        let time = if is_broken { Value::Null } else { json!(1_700_000_000 + number) };
        let id = if number == self.twice.load(Relaxed) { number - 1 } else { number };
        json!({
            "id": format!("r{id}"), "owner": { "address": "ada" }, "block": { "height": number, "timestamp": time },
            "tags": [
                { "name": "Title", "value": format!("Record {number}") },
                { "name": "Text", "value": "Kept by the indexer." },
            ],
        })
    }

    fn page(&self, variables: &Value) -> Value {
        self.pages.fetch_add(1, Relaxed);
        let first = variables["first"].as_u64().expect("a number") as usize;
        let after = variables["after"].as_str().map_or(0, |after| after.parse().expect("ours"));
        let all = self.records.load(Relaxed);
        let end = (after + first).min(all);
        let step = if self.every_other.load(Relaxed) { 2 } else { 1 };
        let cursor = |number: usize| match self.circles.load(Relaxed) && number >= 20 {
            true => "10".to_string(),
            false => (number + 1).to_string(),
        };
        let edges: Vec<_> = (after..end)
            .filter(|number| number % step == 0 || number + 1 == end)
            .map(|number| json!({ "cursor": cursor(number), "node": self.node(number) }))
            .collect();
        json!({ "transactions": { "pageInfo": { "hasNextPage": end < all }, "edges": edges } })
    }
}

async fn answer(State(source): State<Arc<Source>>, Json(asked): Json<Value>) -> Response {
    if let Ok(status) = http::StatusCode::from_u16(source.status.load(Relaxed) as u16) {
        return status.into_response();
    }
    if source.html.load(Relaxed) {
        return axum::response::Html("<h1>Soon back</h1>").into_response();
    }
    let data = match asked["query"].as_str().is_some_and(|query| query.contains("blocks")) {
        true => {
            let height = source.height.load(Relaxed);
            json!({ "blocks": { "edges": [{ "node": { "height": height } }] } })
        }
        false => source.page(&asked["variables"]),
    };
    let mut body = json!({ "data": data });
    if source.partial.load(Relaxed) && body["data"].get("transactions").is_some() {
        body["errors"] = json!([{ "message": "half of it" }]);
    }
    Json(body).into_response()
}

struct Indexing {
    server: TestServer,
    data: tempfile::TempDir,
}

impl Indexing {
    async fn start(urls: &str, more: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let server = serve(data.path(), urls, more).await;
        Self { server, data }
    }

    /// Waits until its state is as `wanted`.
    async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let state = self.server.get("/api/search/indexer").await.json();
            if wanted(&state) {
                return state;
            }
            assert!(began.elapsed() < PATIENCE, "not {what}: {state:#}");
            tokio::task::yield_now().await;
        }
    }

    /// How often each id is in the index.
    async fn ids(&self) -> BTreeMap<String, usize> {
        let (mut all, mut cursor) = (BTreeMap::new(), String::new());
        loop {
            let path = format!("/api/search?sort=oldest&limit=100{cursor}");
            let page = self.server.get(&path).await.json();
            for hit in page["hits"].as_array().expect("hits") {
                *all.entry(hit["id"].as_str().expect("an id").to_string()).or_default() += 1;
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return all,
            }
        }
    }

    async fn holds(&self, numbers: impl Iterator<Item = usize>) {
        let wanted: BTreeMap<_, _> = numbers.map(|number| (format!("r{number}"), 1)).collect();
        assert!(self.ids().await == wanted, "not the records that were wanted, each once");
    }
}

async fn serve(data: &std::path::Path, urls: &str, more: &[(&str, &str)]) -> TestServer {
    let folder = data.to_str().expect("text");
    let usual = [
        ("data", folder),
        ("search.guide", "false"),
        ("indexer.endpoints", urls),
        ("indexer.interval_seconds", "0.2"),
        ("indexer.start_delay_seconds", "0"),
        ("indexer.page_size", "10"),
    ];
    let pairs: Vec<_> = more
        .iter()
        .copied()
        .chain(usual.into_iter().filter(|(key, _)| more.iter().all(|(name, _)| name != key)))
        .collect();
    TestServer::start(&pairs).await
}

fn caught_up(state: &Value) -> bool {
    state["phase"] == "caught_up"
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_brought_once_and_what_is_added_follows() {
    let (source, url) = Source::start(57).await;
    source.twice.store(30, Relaxed);
    let indexing = Indexing::start(&url, &[]).await;
    let state = indexing.until("caught up", caught_up).await;
    assert_eq!(
        (&state["records"], &state["rejected"], &state["backend"]),
        (&json!(57), &json!(0), &json!("embedded"))
    );
    assert_eq!((&state["height"], &state["source"]), (&json!(5000), &json!(url)));
    assert!(state["caught_up_at"].is_string() && state["last_error"].is_null());
    // The second of two with one id is the one that stays.
    indexing.holds((0..57).filter(|number| *number != 30)).await;
    assert_eq!(indexing.server.get("/api/search/r29").await.json()["title"], "Record 30");
    let pages = source.pages.load(Relaxed);
    source.records.store(63, Relaxed);
    indexing.until("further", |state| state["records"] == 63 && caught_up(state)).await;
    indexing.holds((0..63).filter(|number| *number != 30)).await;
    // It goes on behind the last one, and does not begin again.
    assert!(source.pages.load(Relaxed) - pages < 10);
    let hit =
        indexing.server.get("/api/search?q=record+12&limit=1").await.json()["hits"][0].clone();
    assert_eq!((&hit["title"], &hit["creator"]), (&json!("Record 12"), &json!("ada")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_where_it_was_left() {
    let (source, url) = Source::start(40).await;
    let first = Indexing::start(&url, &[]).await;
    first.until("caught up", caught_up).await;
    let Indexing { server, data } = first;
    assert!(server.server.stop().await, "it leaves well");
    source.records.store(55, Relaxed);
    let pages = source.pages.load(Relaxed);
    let again = Indexing { server: serve(data.path(), &url, &[]).await, data };
    again.until("caught up", |state| caught_up(state) && state["records"] == 55).await;
    again.holds(0..55).await;
    assert!(source.pages.load(Relaxed) - pages <= 4, "it did not begin anew");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_is_none_is_said_and_keeps_no_other_back() {
    let (source, url) = Source::start(30).await;
    *source.broken.lock().expect("whole") = vec![3, 17];
    let indexing = Indexing::start(&url, &[]).await;
    let state = indexing.until("caught up", caught_up).await;
    assert_eq!((&state["records"], &state["rejected"]), (&json!(30), &json!(2)));
    assert_eq!(state["rejections"][0]["id"], "r3");
    assert!(
        state["rejections"][1]["why"].as_str().is_some_and(|why| why.starts_with("created_at"))
    );
    indexing.holds((0..30).filter(|number| ![3, 17].contains(number))).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_goes_round_in_circles_is_left() {
    let (source, url) = Source::start(100).await;
    source.circles.store(true, Relaxed);
    let indexing = Indexing::start(&url, &[]).await;
    let state = indexing.until("failing", |state| state["phase"] == "failing").await;
    let error = state["last_error"].as_str().expect("why");
    assert!(error.contains("cursor") && error.contains("10"), "{error}");
    let pages = source.pages.load(Relaxed);
    assert!(pages < 20, "{pages} pages");
    source.circles.store(false, Relaxed);
    indexing.until("caught up", caught_up).await;
    indexing.holds(0..100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_a_source_answers_nothing_is_lost() {
    let (source, url) = Source::start(25).await;
    source.status.store(500, Relaxed);
    let indexing = Indexing::start(&url, &[]).await;
    indexing.until("failing", |state| state["phase"] == "failing").await;
    source.status.store(0, Relaxed);
    source.html.store(true, Relaxed);
    indexing.until("told", |state| state["last_error"].to_string().contains("text/html")).await;
    source.html.store(false, Relaxed);
    source.partial.store(true, Relaxed);
    indexing.until("told", |state| state["last_error"].to_string().contains("half of it")).await;
    assert!(indexing.ids().await.is_empty(), "nothing of a page that is not whole is taken");
    source.partial.store(false, Relaxed);
    indexing.until("caught up", caught_up).await;
    indexing.holds(0..25).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_is_far_behind_is_not_asked_and_another_stands_in() {
    let (behind, behind_url) = Source::start(10).await;
    let (good, good_url) = Source::start(20).await;
    behind.height.store(3999, Relaxed);
    let indexing = Indexing::start(&format!("{behind_url},{good_url}"), &[]).await;
    let state = indexing.until("caught up", caught_up).await;
    assert_eq!((&state["source"], behind.pages.load(Relaxed)), (&json!(good_url), 0));
    indexing.holds(0..20).await;
    // Within the gap the first is asked first; what it brings again is there once.
    behind.height.store(4000, Relaxed);
    indexing
        .until("the first", |state| state["source"] == json!(behind_url) && caught_up(state))
        .await;
    indexing.holds(0..20).await;
    // When it fails, the other one goes on from where it was.
    behind.status.store(503, Relaxed);
    good.records.store(24, Relaxed);
    indexing
        .until("the other", |state| state["records"].as_u64() >= Some(34) && caught_up(state))
        .await;
    indexing.holds(0..24).await;
    // And alone, far behind what was seen, it is not believed.
    good.status.store(503, Relaxed);
    behind.status.store(0, Relaxed);
    behind.height.store(100, Relaxed);
    let state = indexing.until("refused", |state| state["phase"] == "failing").await;
    assert!(state["last_error"].as_str().is_some(), "{state:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_brings_so_many_and_the_next_one_goes_on() {
    let (_, url) = Source::start(95).await;
    let indexing = Indexing::start(&url, &[("indexer.max_records", "30")]).await;
    let state = indexing.until("caught up", caught_up).await;
    assert_eq!(state["records"], 95);
    assert!(state["cycle_records"].as_u64() <= Some(30));
    indexing.holds(0..95).await;
    let metrics =
        super::http::Client::connect(indexing.server.server.admin).await.get("/metrics").await;
    let text = String::from_utf8(metrics.body).expect("text");
    let more = text
        .lines()
        .find(|line| line.starts_with("evensong_indexer_cycles_total{outcome=\"more\"}"));
    assert_eq!(more.and_then(|line| line.rsplit(' ').next()), Some("3"), "{more:?}");
}

/// As a process of its own, which can be killed.
fn index(data: &std::path::Path, url: &str, args: &[&str]) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_evensong"));
    command
        .arg("index")
        .args(args)
        .env_clear()
        .env("EVENSONG_DATA", data)
        .env("EVENSONG_SEARCH_GUIDE", "false")
        .env("EVENSONG_INDEXER_ENDPOINTS", url)
        .env("EVENSONG_INDEXER_PAGE_SIZE", "10")
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .kill_on_drop(true);
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_over_and_over_it_brings_all_of_it_once() {
    let (source, url) = Source::start(6000).await;
    let data = tempfile::tempdir().expect("a folder");
    for pages in [20, 90, 200, 350, 480] {
        let mut child = index(data.path(), &url, &["--once"]).spawn().expect("it runs");
        let began = Instant::now();
        while source.pages.load(Relaxed) < pages && child.try_wait().expect("asked").is_none() {
            assert!(began.elapsed() < PATIENCE, "{} of {pages} pages", source.pages.load(Relaxed));
            tokio::task::yield_now().await;
        }
        child.kill().await.expect("killed");
    }
    let ended = index(data.path(), &url, &["--once"]).output().await.expect("it runs");
    let said = String::from_utf8(ended.stderr).expect("text");
    assert!(ended.status.success() && said.contains("Nothing is left to bring"), "{said}");
    let indexing =
        Indexing { server: serve(data.path(), &url, &[("indexer.enabled", "false")]).await, data };
    indexing.holds(0..6000).await;
    let off = indexing.server.get("/api/search/indexer").await;
    assert_eq!((off.status, &off.json()["type"]), (404, &json!("not_configured")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn interrupted_it_ends_within_a_second_and_a_rebuild_forgets_what_is_gone() {
    let (source, url) = Source::start(3000).await;
    let data = tempfile::tempdir().expect("a folder");
    let child = index(data.path(), &url, &[]).spawn().expect("it runs");
    let began = Instant::now();
    while source.pages.load(Relaxed) < 50 {
        assert!(began.elapsed() < PATIENCE);
        tokio::task::yield_now().await;
    }
    let pid =
        rustix::process::Pid::from_raw(child.id().expect("it lives") as i32).expect("a number");
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("sent");
    let ended = tokio::time::timeout(Duration::from_secs(1), child.wait_with_output()).await;
    let ended = ended.expect("within a second").expect("ended");
    assert_eq!(ended.status.code(), Some(130), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("it goes on from there"));
    let once = index(data.path(), &url, &["--once"]).output().await.expect("it runs");
    assert!(once.status.success(), "{}", String::from_utf8_lossy(&once.stderr));
    source.every_other.store(true, Relaxed);
    let rebuilt = index(data.path(), &url, &["--rebuild"]).output().await.expect("it runs");
    assert!(rebuilt.status.success(), "{}", String::from_utf8_lossy(&rebuilt.stderr));
    let indexing =
        Indexing { server: serve(data.path(), &url, &[("indexer.enabled", "false")]).await, data };
    indexing.holds((0..3000).filter(|number| number % 2 == 0 || number % 10 == 9)).await;
}

#[tokio::test]
async fn without_a_source_it_says_what_would_be_one() {
    let data = tempfile::tempdir().expect("a folder");
    let ended = index(data.path(), "", &["--once"]).output().await.expect("it runs");
    let said = String::from_utf8(ended.stderr).expect("text");
    assert!(!ended.status.success() && said.contains("graphql.url"), "{said}");
    let ended =
        index(data.path(), "http://127.0.0.1:9/graphql", &["--once", "--rebuild"]).output().await;
    assert!(!ended.expect("it runs").status.success(), "one or the other");
}
