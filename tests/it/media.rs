//! Media from outside: what is served, to whom it is not, and what is put in and taken away.

use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::http::{Answer, Client};
use crate::server::{TestServer, live};

/// A server over a folder of its own.
pub struct House {
    pub server: TestServer,
    pub folder: TempDir,
}

impl House {
    /// With these files, and settings.
    pub async fn start(files: &[(&str, &[u8])], settings: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, content) in files {
            write(folder.path(), name, content);
        }
        let root = folder.path().to_str().expect("UTF-8").to_string();
        let usual = [("media.root", &*root), ("insecure_admin", "true")];
        let server = TestServer::start(&[settings, &usual[..]].concat()).await;
        Self { server, folder }
    }

    pub fn write(&self, name: &str, content: &[u8]) {
        write(self.folder.path(), name, content);
    }

    /// An answer without a body, whatever length it says.
    pub async fn head(&self, head: &str) -> Answer {
        let mut client = self.server.connect().await;
        client.send(head.as_bytes()).await;
        let (status, headers) = client.head().await;
        Answer { status, headers, body: Vec::new(), whole: true }
    }

    pub async fn with(&self, path: &str, headers: &str) -> Answer {
        let head = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n{headers}\r\n");
        let answer = self.head(&head).await;
        if answer.status == 304 {
            return answer;
        }
        let mut client = self.server.connect().await;
        client.send(head.as_bytes()).await;
        client.answer().await
    }

    pub async fn put(&self, path: &str, body: &[u8]) -> Answer {
        let mut client = self.server.connect().await;
        client.send(&put(path, body.len(), body)).await;
        client.answer().await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        let mut client = self.server.connect().await;
        client.send(format!("DELETE {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).await;
        client.answer().await
    }

    pub async fn metric(&self, name: &str) -> f64 {
        let metrics = Client::connect(self.server.server.admin).await.get("/metrics").await.body;
        let metrics = String::from_utf8(metrics).expect("text");
        let line = metrics.lines().find(|line| line.split(' ').next() == Some(name));
        line.and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0.0)
    }

    /// All that lies in the folder, hidden or not.
    pub fn files(&self) -> Vec<String> {
        let name = |item: std::io::Result<std::fs::DirEntry>| {
            item.expect("it can be read").file_name().into_string().expect("UTF-8")
        };
        let mut names: Vec<_> =
            self.folder.path().read_dir().expect("a folder").map(name).collect();
        names.sort();
        names
    }
}

fn write(folder: &Path, name: &str, content: &[u8]) {
    let file = folder.join(name);
    std::fs::create_dir_all(file.parent().expect("a folder")).expect("made");
    std::fs::write(file, content).expect("written");
}

fn put(path: &str, length: usize, body: &[u8]) -> Vec<u8> {
    let head =
        format!("PUT {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

/// What looks like a picture, of so many bytes.
pub fn gif(seed: u32, bytes: usize) -> Vec<u8> {
    let noise =
        (0..).map(|n: u32| (n.wrapping_mul(2_654_435_761).wrapping_add(seed * 97) >> 13) as u8);
    b"GIF89a".iter().copied().chain(noise).take(bytes).collect()
}

fn hash(content: &[u8]) -> String {
    blake3::hash(content).to_hex()[..32].to_string()
}

fn problem(answer: &Answer) -> (u16, Value) {
    (answer.status, answer.json()["type"].clone())
}

#[tokio::test]
async fn a_file_is_served_for_a_year_by_its_name_and_by_its_hash() {
    let content = gif(1, 400_000);
    let house = House::start(&[("a b/cat.gif", &content)], &[]).await;
    let hashed = format!("/media/a%20b/cat.{}.gif", hash(&content));
    for (path, served) in [("/media/a%20b/cat.gif", 1.0), (&hashed, 2.0)] {
        let answer = house.server.get(path).await;
        assert!(answer.status == 200 && answer.whole && answer.body == content);
        for (name, value) in [
            ("content-type", "image/gif"),
            ("cache-control", "public, max-age=31536000, immutable"),
            ("etag", &*format!("\"{}\"", hash(&content))),
            ("accept-ranges", "bytes"),
            ("x-content-type-options", "nosniff"),
            ("cross-origin-resource-policy", "cross-origin"),
            ("content-length", "400000"),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
        assert!(answer.header("last-modified").ends_with("GMT"));
        assert_eq!(house.metric("evensong_media_requests_total{served=\"hot\"}").await, served);
    }
    assert_eq!(house.metric("evensong_media_bytes_total").await, 800_000.0);
    let other = hashed.replace(&hash(&content), &hash(b"other"));
    assert_eq!(problem(&house.server.get(&other).await), (404, "media_not_found".into()));
    let head = house.head("HEAD /media/a%20b/cat.gif HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
    assert_eq!((head.status, head.header("content-length")), (200, "400000"));
    house.server.idle().await;
}

#[tokio::test]
async fn conditions_and_ranges_go_together_as_the_standard_has_them() {
    let content = gif(2, 1000);
    let house = House::start(&[("cat.gif", &content)], &[]).await;
    let date = house.server.get("/media/cat.gif").await.header("last-modified").to_string();
    let tag = format!("\"{}\"", hash(&content));
    let conditions = [
        (String::new(), 200),
        (format!("if-none-match: {tag}\r\n"), 304),
        (format!("if-none-match: W/{tag}\r\n"), 304),
        ("if-none-match: *\r\n".into(), 304),
        ("if-none-match: \"x\"\r\n".into(), 200),
        (format!("if-modified-since: {date}\r\n"), 304),
        ("if-modified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".into(), 200),
        (format!("if-match: {tag}\r\n"), 200),
        ("if-match: \"x\"\r\n".into(), 412),
        (format!("if-unmodified-since: {date}\r\n"), 200),
        ("if-unmodified-since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".into(), 412),
    ];
    let ranges = [
        (String::new(), 200, content.clone()),
        ("range: bytes=0-99\r\n".into(), 206, content[..100].to_vec()),
        ("range: bytes=-10\r\n".into(), 206, content[990..].to_vec()),
        ("range: bytes=990-\r\n".into(), 206, content[990..].to_vec()),
        ("range: bytes=1000-\r\n".into(), 416, Vec::new()),
        ("range: bytes=x\r\n".into(), 200, content.clone()),
        (format!("range: bytes=0-9\r\nif-range: {tag}\r\n"), 206, content[..10].to_vec()),
        ("range: bytes=0-9\r\nif-range: \"x\"\r\n".into(), 200, content.clone()),
        (format!("range: bytes=0-9\r\nif-range: {date}\r\n"), 206, content[..10].to_vec()),
    ];
    for (condition, holds) in &conditions {
        for (range, status, body) in &ranges {
            let answer = house.with("/media/cat.gif", &format!("{condition}{range}")).await;
            let expected = if *holds == 200 { *status } else { *holds };
            assert_eq!(answer.status, expected, "{condition}{range}");
            if matches!(expected, 200 | 206) {
                assert!(answer.body == *body && answer.whole, "{condition}{range}");
            }
            if expected == 206 {
                let range = answer.header("content-range");
                let (span, length) =
                    range.strip_prefix("bytes ").expect("a span").split_once('/').expect("both");
                assert!(length == "1000" && span.contains('-'), "{range}");
            }
            if expected == 416 {
                assert_eq!(answer.header("content-range"), "bytes */1000");
            }
            if expected != 416 && expected != 412 {
                assert_eq!(answer.header("etag"), tag);
            }
        }
    }
    house.server.idle().await;
}

#[tokio::test]
async fn several_parts_come_in_one_answer_hot_or_cold() {
    let content = gif(3, 200_000);
    for hot_bytes in ["10000000", "0"] {
        let house = House::start(&[("cat.gif", &content)], &[("media.hot_bytes", hot_bytes)]).await;
        let answer = house.with("/media/cat.gif", "range: bytes=0-9,100000-199998,-1\r\n").await;
        assert!(answer.status == 206 && answer.whole);
        let kind = answer.header("content-type");
        let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect(kind);
        let mut rest = &answer.body[..];
        for (from, to) in [(0, 10), (100_000, 199_999), (199_999, 200_000)] {
            let head = format!(
                "--{boundary}\r\ncontent-type: image/gif\r\ncontent-range: bytes {from}-{}/200000\r\n\r\n",
                to - 1
            );
            rest = rest.strip_prefix(b"\r\n").unwrap_or(rest);
            rest = rest.strip_prefix(head.as_bytes()).expect(&head);
            rest = rest.strip_prefix(&content[from..to]).expect("its bytes");
        }
        assert_eq!(rest, format!("\r\n--{boundary}--\r\n").as_bytes());
        let served = if hot_bytes == "0" { "cold" } else { "hot" };
        let name = format!("evensong_media_requests_total{{served=\"{served}\"}}");
        assert!(house.metric(&name).await > 0.0);
        house.server.idle().await;
    }
}

#[tokio::test]
async fn nothing_beside_the_files_of_the_folder_is_there() {
    let content = gif(4, 100);
    let house = House::start(
        &[("cat.gif", &content), ("a/b.gif", &content), (".hidden.gif", &content)],
        &[],
    )
    .await;
    let outside = tempfile::tempdir().expect("a folder");
    write(outside.path(), "secret.gif", &content);
    let root = house.folder.path();
    symlink(outside.path().join("secret.gif"), root.join("link.gif")).expect("a link");
    symlink(outside.path(), root.join("linked")).expect("a link");
    symlink("cat.gif", root.join("inner.gif")).expect("a link");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        root.join("fifo.gif"),
        rustix::fs::Mode::from_raw_mode(0o600),
    )
    .expect("a FIFO");
    let _socket =
        std::os::unix::net::UnixListener::bind(root.join("socket.gif")).expect("a socket");
    std::fs::create_dir(root.join("folder.gif")).expect("a folder");
    house.write("page.html", b"<script>alert(1)</script>");
    house.write("page.gif", b"<script>alert(1)</script>");
    house.write("picture.svg", b"<svg/>");
    let (outer, long) = (outside.path().display().to_string(), "a".repeat(4000));
    for target in [
        "../secret.gif",
        "%2e%2e/secret.gif",
        "%2e%2e%2fsecret.gif",
        "a/../../secret.gif",
        "a/%2e%2e/cat.gif",
        "a/./b.gif",
        "a//b.gif",
        "/cat.gif",
        "%2fetc/passwd",
        "..%5csecret.gif",
        "a%5cb.gif",
        "cat.gif%00",
        "cat.gif%00.png",
        "%252e%252e/secret.gif",
        "a%252fb.gif",
        "..%c0%afsecret.gif",
        "link.gif",
        "linked/secret.gif",
        "inner.gif",
        "fifo.gif",
        "socket.gif",
        "folder.gif",
        "folder.gif/",
        "a",
        "a/",
        ".hidden.gif",
        ".draft-0.gif",
        "page.html",
        "page.gif",
        "picture.svg",
        "cat.gif/",
        "cat.gif/x.gif",
        "CAT.GIF",
        "cat.gif.",
        "cat.gif%20",
        "cat.gif::$DATA",
        &outer,
        &long,
    ] {
        let answer = house.server.get(&format!("/media/{target}")).await;
        // What is no UTF-8 cannot be read, and is refused before it is looked for.
        let expected = if target.contains("%c0") { 400 } else { 404 };
        assert_eq!(answer.status, expected, "{target}: {}", String::from_utf8_lossy(&answer.body));
        assert!(!answer.body.starts_with(b"GIF"), "{target}");
    }
    assert_eq!(house.server.get("/media/cat.gif").await.status, 200);
    assert_eq!(
        house.server.get("/media/a%2Fb.gif").await.status,
        200,
        "the same, written in another way"
    );
    house.server.server.reload();
    let listed = loop {
        let listed = house.server.get("/media/").await.json();
        if listed["files"].as_array().is_some_and(|files| files.len() >= 2) {
            break listed;
        }
    };
    let names: Vec<_> =
        listed["files"].as_array().expect("files").iter().map(|file| &file["name"]).collect();
    assert_eq!(names, ["a/b.gif", "cat.gif"]);
    house.server.idle().await;
}

#[tokio::test]
async fn a_file_that_changes_while_it_is_sent_breaks_the_transfer() {
    let content = gif(5, 3_000_000);
    type Change = fn(&Path);
    let shrink: Change = |file| {
        std::fs::File::options()
            .write(true)
            .open(file)
            .expect("it opens")
            .set_len(1_000_000)
            .expect("shorter")
    };
    let rewrite: Change = |file| {
        use std::io::Write;
        let mut file = std::fs::File::options().write(true).open(file).expect("it opens");
        file.write_all(&gif(6, 3_000_000)).expect("written");
    };
    for (change, name) in [(shrink, "shrunk"), (rewrite, "written over")] {
        let house = House::start(&[("film.gif", &content)], &[("media.hot_bytes", "0")]).await;
        let mut client = Client::connect_narrow(house.server.server.listen[0]).await;
        client.send(b"GET /media/film.gif HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        let (status, headers) = client.head().await;
        assert_eq!((status, &*headers["content-length"]), (200, "3000000"));
        change(&house.folder.path().join("film.gif"));
        assert!(!client.fill(3_000_000).await, "{name}: it was sent to its end");
        drop(client);
        // Whoever asks now gets what there is now, whole.
        let now = std::fs::read(house.folder.path().join("film.gif")).expect("readable");
        let answer = loop {
            let answer = house.server.get("/media/film.gif").await;
            if answer.header("etag") == format!("\"{}\"", hash(&now)) {
                break answer;
            }
        };
        assert!(answer.whole && answer.body == now, "{name}");
        house.server.idle().await;
    }
}

#[tokio::test]
async fn another_file_under_an_old_name_is_never_taken_for_the_old_one() {
    let (old, new) = (gif(7, 300_000), gif(8, 300_000));
    let house = House::start(&[("cat.gif", &old)], &[]).await;
    let hashed = |content: &[u8]| format!("/media/cat.{}.gif", hash(content));
    assert!(house.server.get(&hashed(&old)).await.body == old);
    house.write("new", &new);
    std::fs::rename(house.folder.path().join("new"), house.folder.path().join("cat.gif"))
        .expect("renamed");
    loop {
        let answer = house.server.get(&hashed(&new)).await;
        if answer.status == 200 {
            assert!(answer.body == new);
            break;
        }
        // Until it is looked at, it is the old one, whole, or not the one that is meant.
        assert_eq!(answer.status, 404);
        let plain = house.server.get("/media/cat.gif").await;
        let expected = format!("\"{}\"", hash(&plain.body));
        assert_eq!((plain.status, plain.header("etag")), (200, &*expected));
    }
    assert_eq!(house.server.get(&hashed(&old)).await.status, 404);
    std::fs::remove_file(house.folder.path().join("cat.gif")).expect("removed");
    while house.server.get("/media/cat.gif").await.status != 404 {}
    house.server.idle().await;
}

#[tokio::test]
async fn many_who_want_the_same_at_once_have_it_read_once() {
    let content = gif(9, 400_000);
    let house = House::start(&[], &[]).await;
    // Put there by somebody else, so that nothing is known of it.
    house.write("cat.gif", &content);
    let mut clients = Vec::new();
    for _ in 0..30 {
        let mut client = house.server.connect().await;
        client.send(b"GET /media/cat.gif HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        clients.push(client);
    }
    for client in &mut clients {
        let answer = client.answer().await;
        assert!(answer.status == 200 && answer.body == content);
    }
    drop(clients);
    let ledger = house.server.idle().await;
    let cached = ledger["kinds"]
        .as_array()
        .expect("kinds")
        .iter()
        .find(|kind| kind["kind"] == "media_cached");
    let cached = cached.expect("a line").clone();
    assert_eq!(
        (&cached["live"], &cached["ever"], &cached["bytes"]),
        (&1.into(), &1.into(), &400_000.into())
    );
    assert!(
        house.metric("evensong_media_hashed_total").await <= 2.0,
        "once, and once more while it was new"
    );
}

#[tokio::test]
async fn a_file_is_put_in_once_and_taken_away() {
    let house = House::start(&[], &[("media.max_file_bytes", "500000")]).await;
    let (cat, dog) = (gif(10, 400_000), gif(11, 400_000));
    let address = format!("/media/pets/cat.{}.gif", hash(&cat));
    for status in [201, 200] {
        let answer = house.put("/media/pets/cat.gif", &cat).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (status, &*address),
            "{:?}",
            answer.body
        );
        let file = answer.json();
        assert!(
            file["name"] == "pets/cat.gif" && file["url"] == *address && file["bytes"] == 400_000,
            "{file}"
        );
    }
    assert_eq!(
        problem(&house.put("/media/pets/cat.gif", &dog).await),
        (409, "media_exists".into())
    );
    assert!(house.server.get(&address).await.body == cat);
    for (path, body, expected) in [
        ("/media/cat.html", &cat[..], (415, "unsupported_media_type")),
        ("/media/cat", &cat, (415, "unsupported_media_type")),
        ("/media/cat.png", &cat, (415, "unsupported_media_type")),
        ("/media/cat.gif", b"<html>", (415, "unsupported_media_type")),
        ("/media/cat.gif", b"", (415, "unsupported_media_type")),
        ("/media/.cat.gif", &cat, (400, "invalid_name")),
        ("/media/a/%2e%2e/cat.gif", &cat, (400, "invalid_name")),
        (&*address, &cat, (400, "invalid_name")),
        ("/media/big.gif", &gif(12, 500_001), (413, "body_too_large")),
    ] {
        let answer = house.put(path, body).await;
        assert_eq!(problem(&answer), (expected.0, expected.1.into()), "{path}");
    }
    // Without saying how long it is.
    let mut client = house.server.connect().await;
    client
        .send(
            b"PUT /media/big.gif HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n",
        )
        .await;
    let big = gif(12, 600_000);
    for part in big.chunks(100_000) {
        let chunk = [format!("{:x}\r\n", part.len()).as_bytes(), part, b"\r\n"].concat();
        // It may be refused before all of it is sent.
        let _ = tokio::io::AsyncWriteExt::write_all(&mut client.stream, &chunk).await;
    }
    assert_eq!(client.answer().await.status, 413);
    // A folder that is a file.
    assert_eq!(house.put("/media/pets/cat.gif/x.gif", &dog).await.status, 404);
    assert_eq!(house.files(), ["pets"], "nothing of what was refused stays");
    assert_eq!(house.delete("/media/pets/cat.gif").await.status, 204);
    assert_eq!(
        problem(&house.delete("/media/pets/cat.gif").await),
        (404, "media_not_found".into())
    );
    assert_eq!(house.server.get(&address).await.status, 404);
    assert_eq!(house.put("/media/pets/cat.gif", &dog).await.status, 201);
    house.server.idle().await;
}

#[tokio::test]
async fn of_several_who_put_under_one_name_one_wins_and_nothing_of_the_others_stays() {
    let house = House::start(&[], &[]).await;
    let contents: Vec<_> = (0..8).map(|seed| gif(seed, 200_000)).collect();
    let mut clients = Vec::new();
    for content in &contents {
        let mut client = house.server.connect().await;
        client.send(&put("/media/cat.gif", content.len(), content)).await;
        clients.push(client);
    }
    let mut won = Vec::new();
    for (client, content) in clients.iter_mut().zip(&contents) {
        match client.answer().await.status {
            201 => won.push(content),
            status => assert_eq!(status, 409),
        }
    }
    assert_eq!(won.len(), 1);
    assert!(house.server.get("/media/cat.gif").await.body == *won[0]);
    drop(clients);
    assert_eq!(house.files(), ["cat.gif"]);
    house.server.idle().await;
}

#[tokio::test]
async fn who_leaves_while_putting_leaves_nothing() {
    let house = House::start(&[], &[]).await;
    for bytes in [0, 10, 100_000, 899_999] {
        let mut client = house.server.connect().await;
        client.send(&put("/media/cat.gif", 900_000, &gif(13, bytes))).await;
        if bytes > 0 {
            house.server.wait("a draft", |ledger| live(ledger, "media_file") > 0).await;
        }
        drop(client);
        house.server.idle().await;
        assert_eq!(house.files(), [""; 0], "after {bytes} bytes");
    }
    assert_eq!(house.server.get("/media/cat.gif").await.status, 404);
}

#[tokio::test]
async fn conditions_hold_for_what_is_put_as_well() {
    let house = House::start(&[], &[]).await;
    let content = gif(14, 100);
    let ask = async |method: &str, condition: &str| {
        let head = format!(
            "{method} /media/cat.gif HTTP/1.1\r\nhost: localhost\r\n{condition}\r\ncontent-length: {}\r\n\r\n",
            if method == "PUT" { 100 } else { 0 }
        );
        let mut client = house.server.connect().await;
        let body = if method == "PUT" { &content[..] } else { b"" };
        client.send(&[head.as_bytes(), body].concat()).await;
        client.answer().await.status
    };
    assert_eq!(ask("PUT", "if-match: *").await, 412);
    assert_eq!(ask("PUT", "if-none-match: *").await, 201);
    assert_eq!(ask("PUT", "if-none-match: *").await, 412);
    assert_eq!(ask("DELETE", "if-match: \"x\"").await, 412);
    assert_eq!(ask("DELETE", &format!("if-match: \"{}\"", hash(&content))).await, 204);
}

#[tokio::test]
async fn files_are_listed_page_by_page_with_the_addresses_under_which_they_last() {
    let contents: Vec<_> = (0..7).map(|n| (format!("{n}.gif"), gif(n, 100))).collect();
    let files: Vec<_> = contents.iter().map(|(name, content)| (&**name, &content[..])).collect();
    let house = House::start(&files, &[]).await;
    let page = async |query: &str| house.server.get(&format!("/media/?{query}")).await.json();
    while page("limit=200").await["files"].as_array().is_none_or(|files| files.len() < 7) {}
    let (mut after, mut seen) = (String::new(), Vec::new());
    loop {
        let page = page(&format!("limit=3&after={after}")).await;
        seen.extend(page["files"].as_array().expect("files").clone());
        match page["next"].as_str() {
            Some(next) => after = next.to_string(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 7);
    for (file, (name, content)) in seen.iter().zip(&contents) {
        let (stem, _) = name.split_once('.').expect("an ending");
        assert_eq!(file["url"], format!("/media/{stem}.{}.gif", hash(content)));
        assert!(
            file["type"] == "image/gif"
                && file["bytes"] == 100
                && file["modified"].as_str().is_some()
        );
        assert!(house.server.get(file["url"].as_str().expect("text")).await.body == *content);
    }
    for limit in ["0", "201", "x", "-1"] {
        let answer = house.server.get(&format!("/media/?limit={limit}")).await;
        assert_eq!((answer.status, &answer.json()["param"]), (400, &"limit".into()), "{limit}");
    }
    // Others put files there as well.
    house.write("8.gif", &gif(8, 100));
    house.server.server.reload();
    while page("").await["files"].as_array().is_none_or(|files| files.len() < 8) {}
}

#[tokio::test]
async fn who_may_not_administer_puts_nothing_in_and_takes_nothing_away() {
    let content = gif(15, 100);
    let house = House::start(&[("cat.gif", &content)], &[("insecure_admin", "false")]).await;
    assert_eq!(house.put("/media/dog.gif", &content).await.status, 403);
    assert_eq!(house.delete("/media/cat.gif").await.status, 403);
    assert_eq!(house.server.get("/media/cat.gif").await.status, 200);
    let off = TestServer::start(&[("media.enabled", "false")]).await;
    assert_eq!(problem(&off.get("/media/cat.gif").await).0, 404);
    assert_eq!(problem(&off.get("/media/").await).0, 404);
}

#[tokio::test]
async fn a_download_that_nobody_takes_is_within_what_is_reserved_and_cut() {
    let content = gif(16, 2_000_000);
    for hot_bytes in ["20000000", "0"] {
        let settings = [("media.hot_bytes", hot_bytes), ("limits.slow_reader_seconds", "1")];
        let house = House::start(&[("film.gif", &content)], &settings).await;
        let mut client = Client::connect_narrow(house.server.server.listen[0]).await;
        client.send(b"GET /media/film.gif HTTP/1.1\r\nhost: localhost\r\n\r\n").await;
        assert_eq!(client.head().await.0, 200);
        let ledger = house.server.ledger().await;
        let kinds = ledger["kinds"].as_array().expect("kinds");
        let download = kinds.iter().find(|kind| kind["kind"] == "media_download").expect("a line");
        assert_eq!((&download["live"], &download["bytes"]), (&1.into(), &(176 * 1024).into()));
        // It takes nothing more until it is cut.
        house.server.wait("the cut", |ledger| live(ledger, "media_download") == 0).await;
        house.server.idle().await;
    }
}

#[tokio::test]
async fn hits_and_sources_name_pictures_by_the_addresses_under_which_they_last() {
    let (content, data) = (gif(17, 100), tempfile::tempdir().expect("a folder"));
    let data = data.path().to_str().expect("UTF-8");
    let house =
        House::start(&[("cat.gif", &content)], &[("data", data), ("search.guide", "false")]).await;
    assert_eq!(house.server.get("/media/cat.gif").await.status, 200, "from now on it is known");
    let documents = [
        ("a", "/media/cat.gif"),
        ("b", "/media/nobody.gif"),
        ("c", "https://example.org/media/cat.gif"),
    ]
    .map(|(id, media)| {
        let text = "The quokka naps in the shade of a pepper tree.";
        serde_json::json!({"id": id, "title": "Quokka", "text": text, "media": media}).to_string()
            + "\n"
    });
    let mut client = house.server.connect().await;
    assert_eq!(
        client.post("/api/search/documents", documents.concat().as_bytes()).await.status,
        200
    );
    let hits = house.server.get("/api/search?q=quokka").await.json()["hits"].clone();
    let lasting = format!("/media/cat.{}.gif", hash(&content));
    for (id, expected) in
        [("a", &*lasting), ("b", "/media/nobody.gif"), ("c", "https://example.org/media/cat.gif")]
    {
        let hit = hits.as_array().expect("hits").iter().find(|hit| hit["id"] == id).expect(id);
        assert_eq!(hit["media"], expected);
    }
    let asked = serde_json::json!({"text": "Where does the quokka nap?", "format": "pcm"});
    let told = client.post("/api/voice/converse", asked.to_string().as_bytes()).await.json();
    let events =
        house.server.get(told["streams"]["events"].as_str().expect("an address")).await.body;
    let events = String::from_utf8(events).expect("text");
    let sources = events.split("event: sources\ndata: ").nth(1).expect("sources");
    assert!(sources.split("\n\n").next().is_some_and(|data| data.contains(&lasting)), "{sources}");
}
