//! Search as its users know it, over HTTP. The cases of `search_cases.rs` are run against the index on disk, and against each
//! real search engine that EVENSONG_ENGINES names, as `opensearch=http://127.0.0.1:9200,…` (`scripts/engine` starts
//! them). What an engine cannot do for want of a module is said in the table, and not passed over.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::http::{Answer, Client};
use super::search_cases::CASES;
use super::server::TestServer;

/// A server that searches somewhere.
pub struct Searching {
    pub server: TestServer,
    /// For the table.
    name: String,
    /// Whether words are found in all their forms there.
    pub has_stems: bool,
    _data: tempfile::TempDir,
}

impl Searching {
    /// On disk.
    pub async fn embedded() -> Self {
        Self::start("embedded (tantivy 0.27)".into(), true, &[]).await
    }

    async fn start(name: String, has_stems: bool, pairs: &[(&str, &str)]) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let folder = data.path().to_str().expect("text").to_string();
        let usual = [("data", &*folder), ("search.guide", "false"), ("insecure_admin", "true")];
        let server = TestServer::start(&[&usual[..], pairs].concat()).await;
        let this = Self { server, name, has_stems, _data: data };
        let began = Instant::now();
        while this.server.get("/readyz").await.json()["search"]["ready"] != true {
            assert!(began.elapsed() < Duration::from_secs(90), "{} is not ready", this.name);
            tokio::task::yield_now().await;
        }
        this
    }

    /// In the engine at `address`, in an index of its own.
    async fn engine(name: &str, address: SocketAddr) -> Self {
        let stemmer = json!({
            "tokenizer": "standard", "text": "x",
            "filter": ["asciifolding", { "type": "stemmer", "language": "porter2" }],
        });
        let stems = ask_engine(address, "POST", "/_analyze", Some(&stemmer)).await;
        let nodes = ask_engine(address, "GET", "/_nodes?filter_path=nodes.*.version", None).await;
        let nodes = nodes.json();
        let version = nodes["nodes"].as_object().and_then(|nodes| nodes.values().next());
        let version = version.map(|node| node["version"].clone()).unwrap_or_default();
        let name = format!("{name} {}", version.as_str().unwrap_or("?"));
        let index = format!("it-{}", std::process::id());
        let url = format!("http://{address}");
        let pairs = [("search.elasticsearch_url", &*url), ("search.index", &*index)];
        Self::start(name, stems.status == 200, &pairs).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.server.get(path).await
    }

    /// The ids of the hits, in order.
    pub async fn ids(&self, query: &str) -> Vec<String> {
        let answer = self.get(&format!("/api/search?{query}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.json());
        ids(&answer.json())
    }

    /// Puts `documents` in.
    pub async fn put(&self, documents: &[Value]) -> Value {
        let lines: Vec<_> = documents.iter().map(Value::to_string).collect();
        let answer = self.put_raw(lines.join("\n").as_bytes()).await;
        assert_eq!(answer.status, 200, "{}", answer.json());
        answer.json()
    }

    pub async fn put_raw(&self, body: &[u8]) -> Answer {
        let mut client = self.server.connect().await;
        client.post("/api/search/documents", body).await
    }

    pub async fn delete(&self, id: &str) -> Answer {
        let mut client = self.server.connect().await;
        let request = format!(
            "DELETE /api/search/documents/{id} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
        );
        client.send(request.as_bytes()).await;
        client.answer().await
    }
}

/// The ids of the hits of a page.
pub fn ids(page: &Value) -> Vec<String> {
    let hits = page["hits"].as_array().expect("hits");
    hits.iter().map(|hit| hit["id"].as_str().expect("an id").to_string()).collect()
}

async fn ask_engine(address: SocketAddr, method: &str, path: &str, body: Option<&Value>) -> Answer {
    let body = body.map(Value::to_string).unwrap_or_default();
    let mut client = Client::connect(address).await;
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
         connection: close\r\n\r\n{body}",
        body.len()
    );
    client.send(request.as_bytes()).await;
    client.answer().await
}

/// The engines that are there to be asked; none is a skip that is said.
fn engines(test: &str) -> Vec<(String, SocketAddr)> {
    let named = std::env::var("EVENSONG_ENGINES").unwrap_or_default();
    let engines: Vec<_> = named.split(',').filter_map(|pair| pair.split_once('=')).collect();
    let address = |url: &str| url.trim_start_matches("http://").parse().expect("an address");
    if engines.is_empty() {
        let skipped = format!(
            "{test}: no search engine (EVENSONG_ENGINES); the embedded index alone was asked"
        );
        eprintln!("skipped: {skipped}");
        if let Ok(file) = std::env::var("EVENSONG_SKIPS") {
            use std::io::Write;
            let file = std::fs::OpenOptions::new().append(true).open(file);
            let _ = file.and_then(|mut file| writeln!(file, "{skipped}"));
        }
    }
    engines.into_iter().map(|(name, url)| (name.to_string(), address(url))).collect()
}

/// Runs every case, and says what came of each.
async fn conform(searching: &Searching) {
    for (number, case) in CASES.iter().enumerate() {
        if case.wants_stems && !searching.has_stems {
            eprintln!("  {:<32} {:<60} lost: it has no such analyzer", searching.name, case.name);
            continue;
        }
        (case.run)(searching, &format!("case{number}")).await;
        eprintln!("  {:<32} {:<60} ok", searching.name, case.name);
    }
    let ledger = searching.server.idle().await;
    assert_eq!(ledger["budget"]["reserved"], 0, "{ledger:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_index_on_disk_conforms() {
    conform(&Searching::embedded().await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real_engines_conform() {
    for (name, address) in engines("search on a real engine") {
        let searching = Searching::engine(&name, address).await;
        conform(&searching).await;
        drop(searching);
        let index = format!("/it-{}-*", std::process::id());
        for index in [index.replace("-*", "-v1"), index.replace("-*", "-state")] {
            assert_eq!(ask_engine(address, "DELETE", &index, None).await.status, 200);
        }
    }
}

/// A new version of the mapping is a new index, filled from the old one, under the same name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_index_is_brought_over_by_one_switch() {
    for (name, address) in engines("an older index on a real engine") {
        let index = format!("old-{}", std::process::id());
        let aliases = json!({ "aliases": { index.clone(): {} } });
        let made = ask_engine(address, "PUT", &format!("/{index}-v0"), Some(&aliases)).await;
        assert_eq!(made.status, 200, "{}", made.json());
        for number in 0..120 {
            let document = json!({
                "id": format!("{number}"), "title": "Heirloom", "text": "handed down", "tie": number, "created_ms": 5,
                "created_at": "2026-01-01T00:00:00Z", "origin": "put", "pass": 0,
            });
            let path = format!("/{index}-v0/_doc/{number}?refresh={}", number == 119);
            assert_eq!(ask_engine(address, "PUT", &path, Some(&document)).await.status, 201);
        }
        let url = format!("http://{address}");
        let pairs = [("search.elasticsearch_url", &*url), ("search.index", &*index)];
        let searching = Searching::start(name, false, &pairs).await;
        let began = Instant::now();
        while searching.get("/api/search?q=heirloom").await.json()["total"]["value"] != 120 {
            assert!(began.elapsed() < Duration::from_secs(10), "the documents are not all there");
            tokio::task::yield_now().await;
        }
        let alias = ask_engine(address, "GET", &format!("/_alias/{index}"), None).await.json();
        let under: Vec<_> = alias.as_object().expect("indices").keys().cloned().collect();
        assert_eq!(under, [format!("{index}-v1")]);
        drop(searching);
        for index in [format!("/{index}-v0"), format!("/{index}-v1"), format!("/{index}-state")] {
            assert_eq!(ask_engine(address, "DELETE", &index, None).await.status, 200);
        }
    }
}
