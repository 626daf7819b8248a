//! The documentation is the server's own: the document speaks of every route and of nothing else,
//! wants a key where the gate does, and points at nothing that is not there; the page that shows it
//! loads nothing from elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use evensong::http::auth::Access;
use evensong::http::rules;
use serde_json::Value;

use crate::http::Answer;
use crate::server::TestServer;

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

async fn document() -> Value {
    let server = TestServer::start(&[]).await;
    let answer = server.get("/openapi.json").await;
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"));
    answer.json()
}

/// Every operation by its method and path, `GET /healthz`.
fn operations(document: &Value) -> BTreeMap<String, Value> {
    let paths = document["paths"].as_object().expect("paths");
    let each = paths.iter().flat_map(|(path, item)| {
        let item = item.as_object().expect("an item");
        let known = |method: &&String| METHODS.contains(&method.as_str());
        assert!(item.keys().all(|key| known(&key)), "{path}: only methods stand here");
        item.iter().map(move |(method, operation)| {
            (format!("{} {path}", method.to_uppercase()), operation.clone())
        })
    });
    each.collect()
}

#[tokio::test]
async fn every_route_is_documented_and_nothing_else() {
    let document = document().await;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["info"]["title"], "Evensong");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let told: BTreeSet<_> = operations(&document).into_keys().collect();
    let routed =
        rules().into_iter().map(|rule| format!("{} {}", rule.method, told_path(rule.path)));
    assert_eq!(told, routed.collect());
    assert!(told.len() >= 15, "{told:?}");
    let tags: Vec<_> =
        document["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
    for (name, operation) in operations(&document) {
        assert!(tags.contains(&&operation["tags"][0]), "{name} stands under none of {tags:?}");
    }
}

/// A path as the document writes it.
fn told_path(path: &str) -> String {
    path.replace("{*", "{")
}

#[tokio::test]
async fn a_key_is_wanted_where_the_gate_wants_one() {
    let document = document().await;
    let operations = operations(&document);
    let schemes = document["components"]["securitySchemes"].as_object().expect("schemes");
    for rule in rules() {
        let name = format!("{} {}", rule.method, told_path(rule.path));
        let operation = &operations[&name];
        let ways = operation["security"].as_array().expect("it is said");
        let ways: BTreeMap<_, _> =
            ways.iter().flat_map(|way| way.as_object().expect("a way")).collect();
        assert!(ways.keys().all(|way| schemes.contains_key(*way)), "{name}: {ways:?}");
        let has = |way: &str| ways.contains_key(&way.to_string());
        let public = rule.access == Access::Public;
        assert_eq!(has("bearerAuth"), !public, "{name}");
        assert_eq!(has("ticket"), !public && rule.method == "GET", "{name}");
        assert_eq!(has("elevenLabsKey"), rule.path.contains("text-to-speech"), "{name}");
        assert_eq!(operation["responses"].get("401").is_some(), !public, "{name}");
        let scope = match rule.access {
            Access::Scope(scope) | Access::Capability(scope) => Some(scope.name()),
            _ => None,
        };
        for scopes in ways.values() {
            let scopes: Vec<_> = scopes.as_array().expect("scopes").iter().collect();
            assert_eq!(scopes, scope.iter().collect::<Vec<_>>(), "{name}");
        }
        let text = operation["description"].as_str().unwrap_or_default();
        assert!(scope.is_none_or(|scope| text.contains(&format!("`{scope}`"))), "{name}: {text}");
    }
}

#[tokio::test]
async fn each_operation_says_what_it_is_and_what_can_go_wrong() {
    let document = document().await;
    let mut ids = BTreeSet::new();
    for (name, operation) in operations(&document) {
        let text = |key: &str| operation[key].as_str().unwrap_or_default().to_string();
        assert!(!text("summary").is_empty(), "{name}");
        assert!(!text("operationId").is_empty() && ids.insert(text("operationId")), "{name}");
        let answers = operation["responses"].as_object().expect("answers");
        let is_good = |status: &String| status.starts_with('2') || status == "101";
        assert!(answers.keys().any(is_good), "{name}");
        for (status, answer) in answers {
            let what = format!("{name}: {status}");
            assert!(!answer["description"].as_str().unwrap_or_default().is_empty(), "{what}");
            assert!(answer["headers"].get("x-request-id").is_some(), "{what}");
            let waits = ["429", "503"].contains(&status.as_str());
            assert_eq!(answer["headers"].get("retry-after").is_some(), waits, "{what}");
            if !status.starts_with(['4', '5']) {
                continue;
            }
            let shape = match name.contains(" /v1/") {
                true => ("application/json", "#/components/schemas/Error"),
                false => ("application/problem+json", "#/components/schemas/Problem"),
            };
            assert_eq!(answer["content"][shape.0]["schema"]["$ref"], shape.1, "{what}");
        }
        let named: BTreeSet<_> = named_in(&name).collect();
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let told = parameters.iter().filter(|parameter| parameter["in"] == "path");
        let told: BTreeSet<_> = told.filter_map(|parameter| parameter["name"].as_str()).collect();
        assert_eq!(named, told, "{name}");
    }
}

/// What varies in a path.
fn named_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| rest.split('}').next())
}

#[tokio::test]
async fn every_reference_leads_somewhere() {
    let document = document().await;
    let mut count = 0;
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        match value {
            Value::Array(items) => left.extend(items),
            Value::Object(fields) => left.extend(fields.values()),
            _ => continue,
        }
        let Some(reference) = value.get("$ref").and_then(Value::as_str) else { continue };
        let pointer = reference.strip_prefix('#').expect("it points into the document");
        assert!(document.pointer(pointer).is_some(), "{reference}");
        count += 1;
    }
    assert!(count > 50, "they were found: {count}");
}

#[tokio::test]
async fn limits_and_formats_are_those_that_are_checked() {
    use evensong::limits::SPEECH_INPUT_CHARS;
    let document = document().await;
    let speech = &document["components"]["schemas"]["SpeechRequest"];
    assert_eq!(speech["required"], serde_json::json!(["input"]));
    assert_eq!(speech["properties"]["input"]["maxLength"], SPEECH_INPUT_CHARS);
    assert_eq!(speech["properties"]["input"]["minLength"], 1);
    let server = TestServer::start(&[]).await;
    let status = server.get("/api/status").await.json();
    let mut formats = status["formats"].as_array().expect("formats").clone();
    formats.push(Value::Null);
    assert_eq!(speech["properties"]["response_format"]["enum"], Value::Array(formats));
    for (speed, fine) in [(0.25, true), (4.0, true), (0.24, false), (4.01, false)] {
        let told = &speech["properties"]["speed"];
        let within =
            told["minimum"].as_f64() <= Some(speed) && Some(speed) <= told["maximum"].as_f64();
        let body = serde_json::json!({"input": "A.", "speed": speed, "response_format": "pcm"});
        assert_eq!((within, server.speech(&body).await.status == 200), (fine, fine), "{speed}");
    }
    let spoken = &document["paths"]["/v1/audio/speech"]["post"]["responses"]["200"];
    for format in status["formats"].as_array().expect("formats") {
        let body = serde_json::json!({"input": "A.", "response_format": format});
        let answer = server.speech(&body).await;
        assert!(spoken["content"].get(answer.header("content-type")).is_some(), "{format}");
        for (name, _) in spoken["headers"].as_object().expect("headers") {
            assert!(!answer.header(name).is_empty(), "{format}: {name}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_read_of_a_target_is_refused_in_the_shape_of_the_place() {
    let server = TestServer::start(&[]).await;
    for (path, code) in [
        ("/v1/models/%ff", "invalid_path"),
        ("/v1/audio/voices/%ff/preview", "invalid_path"),
        ("/v1/audio/voices/tone/preview?model=a&model=b", "invalid_query"),
        ("/assets/%ff", "invalid_path"),
    ] {
        let answer = server.get(path).await;
        let openai = path.starts_with("/v1/");
        let json = answer.json();
        let said = if openai { &json["error"]["code"] } else { &json["type"] };
        assert_eq!((answer.status, said), (400, &Value::from(code)), "{path}");
        let kind = if openai { "application/json" } else { "application/problem+json" };
        assert_eq!(answer.header("content-type"), kind, "{path}");
    }
    let mut client = server.connect().await;
    let answer = client.post("/v1/text-to-speech/%ff", br#"{"text": "A."}"#).await;
    assert_eq!((answer.status, &answer.json()["error"]["code"]), (400, &"invalid_path".into()));
}

#[tokio::test]
async fn the_page_that_shows_it_loads_nothing_from_elsewhere() {
    let server = TestServer::start(&[]).await;
    let page = server.get("/docs").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'self';"), "{policy}");
    assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
    let html = text(&page);
    assert!(html.contains("<title>Evensong"), "{html}");
    let files: BTreeSet<_> = html.split('"').filter(|part| part.starts_with("assets/")).collect();
    assert!(files.len() >= 3, "{files:?}");
    let mut seen = BTreeSet::new();
    let mut left: Vec<String> = files.iter().map(|file| format!("/{file}")).collect();
    while let Some(file) = left.pop() {
        if !seen.insert(file.clone()) {
            continue;
        }
        let answer = server.get(&file).await;
        assert_eq!(answer.status, 200, "{file}");
        let source = text(&answer);
        left.extend(imports(&source).map(|name| format!("/assets/{name}")));
        no_foreign_host(&file, &source);
    }
    no_foreign_host("/docs", &html);
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).expect("text")
}

/// Modules beside a script that it imports.
fn imports(source: &str) -> impl Iterator<Item = &str> {
    source.split("from \"./").skip(1).filter_map(|rest| rest.split('"').next())
}

/// The namespace of SVG is a name, and no address.
fn no_foreign_host(file: &str, source: &str) {
    let source = source.replace("http://www.w3.org/2000/svg", "");
    for (at, _) in source.match_indices("//") {
        let before = source[..at].chars().next_back();
        let inside = matches!(before, Some(':' | '"' | '\'' | '('));
        assert!(!inside, "{file}: {}", source[at..].lines().next().unwrap_or_default());
    }
}
