//! What every index must do, case by case. Each case has a type of its own for its documents, so that cases do not see each
//! other's; the words that it looks for are its own as well.

use std::future::Future;
use std::pin::Pin;

use serde_json::{Value, json};

use super::search::{Searching, ids};

type Run = for<'a> fn(&'a Searching, &'a str) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A case.
pub struct Case {
    pub name: &'static str,
    pub run: Run,
    /// Whether it is about forms of words, or accents.
    pub wants_stems: bool,
}

macro_rules! cases {
    ($($(#[$stems:ident])? $name:ident;)*) => {
        pub const CASES: &[Case] = &[$(Case {
            name: stringify!($name),
            run: |searching, kind| Box::pin($name(searching, kind)),
            wants_stems: { let marks: &[&str] = &[$(stringify!($stems))?]; !marks.is_empty() },
        }),*];
    };
}

cases! {
    a_title_counts_more_than_a_text;
    #[stems] words_are_found_in_all_their_forms;
    #[stems] accents_make_no_difference;
    most_of_several_words_must_be_there;
    a_phrase_stands_in_its_order;
    words_are_found_by_how_they_begin;
    what_is_excluded_is_not_found;
    filters_narrow_and_all_hold;
    nothing_to_look_for_is_everything_newest_first;
    pages_by_time_repeat_and_leave_out_nothing;
    pages_by_time_stay_while_documents_are_added;
    pages_by_relevance_are_of_one_moment;
    a_hundred_hits_fit_a_page;
    the_largest_documents_fit_a_page;
    snippets_are_safe_and_show_what_fits;
    a_document_comes_back_as_it_was;
    what_is_put_again_takes_its_place_and_what_is_deleted_is_gone;
    a_bad_line_is_its_own_error;
    titles_are_suggested_as_one_types;
    what_cannot_be_asked_is_said_by_its_name;
    what_is_typed_means_something;
    a_cursor_is_good_for_its_own_question;
}

fn document(kind: &str, id: &str, title: &str, text: &str) -> Value {
    json!({ "id": format!("{kind}/{id}"), "type": kind, "title": title, "text": text })
}

/// `ids` of the documents of `kind`.
fn of(kind: &str, ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| format!("{kind}/{id}")).collect()
}

fn sorted(mut ids: Vec<String>) -> Vec<String> {
    ids.sort();
    ids
}

/// All pages of `query`, one behind the other.
async fn pages(searching: &Searching, query: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = searching.get(&format!("/api/search?{query}{cursor}")).await;
        assert_eq!(page.status, 200, "{}", page.json());
        all.extend(ids(&page.json()));
        match page.json()["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
}

async fn a_title_counts_more_than_a_text(searching: &Searching, kind: &str) {
    let text = "An organist plays, and nobody listens to what is played there at night.";
    searching
        .put(&[
            document(kind, "text", "Something else", text),
            document(kind, "title", "The organist", "Nobody listens to what is played at night."),
            document(kind, "none", "Nothing", "There is nothing here."),
        ])
        .await;
    let found = searching.get(&format!("/api/search?q=organist&type={kind}")).await.json();
    assert_eq!(ids(&found), of(kind, &["title", "text"]));
    assert_eq!(found["total"], json!({ "value": 2, "relation": "eq" }));
    let scores: Vec<_> =
        found["hits"].as_array().expect("hits").iter().map(|hit| hit["score"].as_f64()).collect();
    assert!(scores[0] > scores[1] && scores[1] > Some(0.0), "{scores:?}");
    assert!(found["backend"].is_string() && found["took_ms"].is_u64());
}

async fn words_are_found_in_all_their_forms(searching: &Searching, kind: &str) {
    searching
        .put(&[document(kind, "a", "Singing", "They were running from house to house.")])
        .await;
    for word in ["sing", "SINGS", "run", "runs", "houses", "runs*", "sings*"] {
        let found = searching.ids(&format!("q={word}&type={kind}")).await;
        assert_eq!(found, of(kind, &["a"]), "{word}");
    }
}

async fn accents_make_no_difference(searching: &Searching, kind: &str) {
    searching.put(&[document(kind, "a", "Éveil", "Le café du curé, in Ångström's street.")]).await;
    for word in ["eveil", "%C3%A9veil", "cafe", "CUR%C3%89", "angstrom"] {
        let found = searching.ids(&format!("q={word}&type={kind}")).await;
        assert_eq!(found, of(kind, &["a"]), "{word}");
    }
}

async fn most_of_several_words_must_be_there(searching: &Searching, kind: &str) {
    searching
        .put(&[
            document(kind, "four", "x", "alder birch cedar dogwood"),
            document(kind, "three", "x", "alder birch cedar"),
            document(kind, "two", "x", "alder birch"),
        ])
        .await;
    let found = searching.ids(&format!("q=alder+birch+cedar+dogwood&type={kind}")).await;
    assert_eq!(found, of(kind, &["four", "three"]));
    let found = searching.ids(&format!("q=alder+cedar&type={kind}")).await;
    assert_eq!(sorted(found), of(kind, &["four", "three"]));
}

async fn a_phrase_stands_in_its_order(searching: &Searching, kind: &str) {
    searching
        .put(&[
            document(kind, "yes", "x", "It was the evening bell that rang."),
            document(kind, "no", "x", "The bell rang in the evening."),
        ])
        .await;
    for query in ["%22evening+bell%22", "%22evening+bell", "rang+%22evening+bell%22"] {
        let found = searching.ids(&format!("q={query}&type={kind}")).await;
        assert_eq!(found, of(kind, &["yes"]), "{query}");
    }
    let found = searching.ids(&format!("q=evening+bell&type={kind}")).await;
    assert_eq!(sorted(found), of(kind, &["no", "yes"]));
}

async fn words_are_found_by_how_they_begin(searching: &Searching, kind: &str) {
    searching
        .put(&[
            document(kind, "a", "Nightingale", "x"),
            document(kind, "b", "x", "It nighted early."),
            document(kind, "c", "x", "A knight."),
        ])
        .await;
    let found = searching.ids(&format!("q=Nigh*&type={kind}")).await;
    assert_eq!(found, of(kind, &["a", "b"]));
    assert!(searching.ids(&format!("q=nightx*&type={kind}")).await.is_empty());
    // A mark before a word means nothing.
    assert_eq!(searching.ids(&format!("q=*nightingale&type={kind}")).await, of(kind, &["a"]));
}

async fn what_is_excluded_is_not_found(searching: &Searching, kind: &str) {
    searching
        .put(&[
            document(kind, "a", "x", "quartz and mica"),
            document(kind, "b", "x", "quartz and granite rock"),
        ])
        .await;
    assert_eq!(searching.ids(&format!("q=quartz+-mica&type={kind}")).await, of(kind, &["b"]));
    let found = searching.ids(&format!("q=quartz+-%22granite+rock%22&type={kind}")).await;
    assert_eq!(found, of(kind, &["a"]));
    assert_eq!(searching.ids(&format!("q=-mica&type={kind}")).await, of(kind, &["b"]));
}

async fn filters_narrow_and_all_hold(searching: &Searching, kind: &str) {
    let made = |id: &str, day: u32, creator: &str, tags: &[&str], has_audio: bool| {
        json!({
            "id": format!("{kind}/{id}"), "type": kind, "title": format!("Hymn {id}"), "tags": tags,
            "creator": creator, "has_audio": has_audio, "created_at": format!("2026-03-{day:02}T12:00:00Z"),
        })
    };
    searching
        .put(&[
            made("a", 1, "Ada", &["old", "slow"], true),
            made("b", 2, "Ada", &["old"], false),
            made("c", 3, "Ben B.", &["new", "slow"], true),
        ])
        .await;
    for (query, found) in [
        ("tag=old", &["a", "b"][..]),
        ("tag=old&tag=slow", &["a"]),
        ("tag=ol", &[]),
        ("creator=Ben+B.", &["c"]),
        ("creator=ada", &[]),
        ("has_audio=true", &["a", "c"]),
        ("has_audio=false&tag=old", &["b"]),
        ("from=2026-03-02", &["b", "c"]),
        ("to=2026-03-02", &["a", "b"]),
        ("from=2026-03-02T12:00:00Z&to=2026-03-02T13:00:00%2B01:00", &["b"]),
        ("q=hymn&creator=Ada&from=2026-03-02&has_audio=false&tag=old", &["b"]),
    ] {
        let seen = searching.ids(&format!("type={kind}&{query}")).await;
        assert_eq!(sorted(seen), of(kind, found), "{query}");
    }
    // They say which, and nothing of how well.
    let [plain, filtered] = [format!("q=hymn&type={kind}"), format!("q=hymn&type={kind}&tag=old")];
    let mut scores = Vec::new();
    for query in [plain, filtered] {
        let page = searching.get(&format!("/api/search?{query}")).await.json();
        let hits = page["hits"].as_array().expect("hits").clone();
        let hit = hits.into_iter().find(|hit| hit["id"] == format!("{kind}/a")).expect("found");
        scores.push(hit["score"].as_f64().expect("a score"));
    }
    assert!((scores[0] - scores[1]).abs() < 1e-4, "{scores:?}");
}

async fn nothing_to_look_for_is_everything_newest_first(searching: &Searching, kind: &str) {
    let made = |id: &str, year: u32| json!({ "id": format!("{kind}/{id}"), "type": kind, "title": id, "created_at": format!("{year}-01-01T00:00:00Z") });
    searching.put(&[made("mid", 2011), made("new", 2012), made("old", 2010)]).await;
    for query in ["", "q=&", "q=+*+%22%22&", "sort=newest&"] {
        let found = searching.ids(&format!("{query}type={kind}")).await;
        assert_eq!(found, of(kind, &["new", "mid", "old"]), "{query}");
    }
    let found = searching.get(&format!("/api/search?type={kind}&sort=oldest")).await.json();
    assert_eq!(ids(&found), of(kind, &["old", "mid", "new"]));
    assert!(found["hits"][0]["score"].is_null());
    assert_eq!(found["hits"][0]["created_at"], "2010-01-01T00:00:00Z");
}

async fn pages_by_time_repeat_and_leave_out_nothing(searching: &Searching, kind: &str) {
    // Most at the same moment, which is where orders fail.
    let made = |n: usize| {
        let day = if n < 17 { 1 } else { n - 10 };
        json!({
            "id": format!("{kind}/{n:02}"), "type": kind, "title": "Leaf", "text": "autumn",
            "created_at": format!("2026-02-{day:02}T00:00:00Z"),
        })
    };
    let documents: Vec<_> = (0..23).map(made).collect();
    searching.put(&documents).await;
    let all: Vec<_> = (0..23).map(|n| format!("{kind}/{n:02}")).collect();
    for sort in ["newest", "oldest", "relevance"] {
        let mut seen = Vec::new();
        for limit in [1, 4, 23, 100] {
            let found =
                pages(searching, &format!("q=autumn&type={kind}&sort={sort}&limit={limit}")).await;
            assert_eq!(sorted(found.clone()), all, "{sort}, {limit} a page");
            seen.push(found);
        }
        assert!(
            seen.windows(2).all(|pair| pair[0] == pair[1]),
            "{sort}: one order, however it is cut"
        );
    }
}

async fn pages_by_time_stay_while_documents_are_added(searching: &Searching, kind: &str) {
    let made = |n: usize| {
        json!({
            "id": format!("{kind}/{n:02}"), "type": kind, "title": "Wave",
            "created_at": format!("2026-02-{n:02}T00:00:00Z"),
        })
    };
    let documents: Vec<_> = (5..15).map(made).collect();
    searching.put(&documents).await;
    let first = searching.get(&format!("/api/search?type={kind}&sort=newest&limit=4")).await.json();
    searching.put(&[made(20), made(21)]).await;
    let next = first["next_cursor"].as_str().expect("more");
    let rest = searching.ids(&format!("type={kind}&sort=newest&limit=10&cursor={next}")).await;
    let expected: Vec<_> = (5..11).rev().map(|n| format!("{kind}/{n:02}")).collect();
    assert_eq!(rest, expected);
}

async fn pages_by_relevance_are_of_one_moment(searching: &Searching, kind: &str) {
    let made = |n: usize| document(kind, &format!("{n:02}"), "x", &"ember ".repeat(n));
    let documents: Vec<_> = (1..13).map(made).collect();
    searching.put(&documents).await;
    let query = format!("q=ember&type={kind}&limit=5");
    let before = pages(searching, &query).await;
    let first = searching.get(&format!("/api/search?{query}")).await.json();
    // Another one that would come first, and one less of those to come.
    searching.put(&[document(kind, "best", "Ember", "ember ember")]).await;
    let last = before.last().expect("hits").rsplit('/').next().expect("a number");
    assert_eq!(searching.delete(&format!("{kind}%2F{last}")).await.status, 200);
    let mut seen = ids(&first);
    let mut next = first["next_cursor"].as_str().map(ToString::to_string);
    while let Some(cursor) = next {
        let page = searching.get(&format!("/api/search?{query}&cursor={cursor}")).await.json();
        seen.extend(ids(&page));
        next = page["next_cursor"].as_str().map(ToString::to_string);
    }
    assert_eq!(seen, before);
    let now = searching.ids(&format!("q=ember&type={kind}&limit=50")).await;
    assert_eq!((now.len(), &*now[0]), (12, &*format!("{kind}/best")));
}

async fn a_hundred_hits_fit_a_page(searching: &Searching, kind: &str) {
    let text = "granary \u{1F33E} & <wheat> ".repeat(200);
    let documents: Vec<_> =
        (0..120).map(|n| document(kind, &format!("{n:03}"), "Granary", &text)).collect();
    searching.put(&documents).await;
    let page = searching.get(&format!("/api/search?q=granary&type={kind}&limit=100")).await.json();
    assert_eq!((ids(&page).len(), &page["total"]["value"]), (100, &json!(120)));
}

/// Every field at its longest, in characters of four bytes, and a text that nothing can be cut out of.
async fn the_largest_documents_fit_a_page(searching: &Searching, kind: &str) {
    let made = |number: usize| {
        let tags: Vec<_> =
            (0..32).map(|tag| format!("{}{tag:02}", "\u{1F600}".repeat(62))).collect();
        let link = format!("/{}", "u".repeat(2047));
        json!({
            "id": format!("{kind}/{number:02}/{}", "é".repeat(240)), "type": kind,
            "title": format!("zebu {}", "\u{1F600}".repeat(250)), "text": format!("zebu {}", "\"".repeat(65_000)),
            "url": link, "media": link, "tags": tags, "creator": "\u{1F600}".repeat(256), "has_audio": true,
        })
    };
    for part in 0..4 {
        searching.put(&(part * 10..part * 10 + 10).map(made).collect::<Vec<_>>()).await;
    }
    for limit in [1, 20, 40] {
        assert_eq!(searching.ids(&format!("q=zebu&type={kind}&limit={limit}")).await.len(), limit);
    }
}

async fn snippets_are_safe_and_show_what_fits(searching: &Searching, kind: &str) {
    let filler = "and so it went on and on. ".repeat(30);
    let text =
        format!("{filler} <script>alert('tolling')</script> & the \"tolling\" bell {filler}");
    searching
        .put(&[
            document(kind, "a", "<b>x</b>", &text),
            document(kind, "b", "Tolling", "Only the title has it."),
            document(kind, "c", "Tolling again", ""),
        ])
        .await;
    let found = searching.get(&format!("/api/search?q=tolling&type={kind}")).await.json();
    let snippet = |id: &str| {
        let hits = found["hits"].as_array().expect("hits");
        let hit = hits.iter().find(|hit| hit["id"] == format!("{kind}/{id}")).expect("found");
        (hit["snippet"].as_str().expect("text").to_string(), hit["title"].clone())
    };
    let (html, title) = snippet("a");
    assert!(html.contains("<em>tolling</em>") && html.chars().count() < 500, "{html}");
    assert!(
        !html.replace("<em>", "").replace("</em>", "").contains(['<', '>', '"', '\'']),
        "{html}"
    );
    assert_eq!(title, "<b>x</b>", "a title is text, and stays as it is");
    assert_eq!(snippet("b").0, "Only the title has it.");
    assert_eq!(snippet("c").0, "");
    let begun = searching.get(&format!("/api/search?q=tolli*&type={kind}")).await.json();
    assert!(begun["hits"].to_string().contains("<em>tolling</em>"), "{begun}");
}

async fn a_document_comes_back_as_it_was(searching: &Searching, kind: &str) {
    let whole = json!({
        "id": format!("{kind}/ä b?c#d%"), "type": kind, "title": "Whole", "text": "All\nof it. \u{1F514}",
        "url": "https://example.org/a?b=c", "media": "/media/a.gif", "created_at": "2026-11-22T20:00:00.5Z",
        "tags": ["one", "two words"], "creator": "Somebody", "has_audio": true,
    });
    searching.put(std::slice::from_ref(&whole)).await;
    let path = format!("/api/search/{kind}%2F%C3%A4%20b%3Fc%23d%25");
    let got = searching.get(&path).await;
    assert_eq!((got.status, got.json()), (200, whole));
    let hit = searching.get(&format!("/api/search?type={kind}")).await.json()["hits"][0].clone();
    for field in ["url", "media", "created_at", "tags", "creator", "has_audio", "title", "type"] {
        assert_eq!(hit[field], got.json()[field], "{field}");
    }
    assert!(hit.get("text").is_none());
    let none = searching.get(&format!("/api/search/{kind}%2Fnobody")).await;
    assert_eq!((none.status, &none.json()["type"]), (404, &json!("document_not_found")));
}

async fn what_is_put_again_takes_its_place_and_what_is_deleted_is_gone(
    searching: &Searching,
    kind: &str,
) {
    searching.put(&[document(kind, "a", "Before", "walnut")]).await;
    searching
        .put(&[document(kind, "a", "Between", "walnut"), document(kind, "a", "After", "hazel")])
        .await;
    assert!(searching.ids(&format!("q=walnut&type={kind}")).await.is_empty());
    assert_eq!(searching.ids(&format!("q=hazel&type={kind}")).await, of(kind, &["a"]));
    let page = searching.get(&format!("/api/search?type={kind}")).await.json();
    assert_eq!((&page["total"]["value"], &page["hits"][0]["title"]), (&json!(1), &json!("After")));
    let gone = searching.delete(&format!("{kind}%2Fa")).await;
    assert_eq!((gone.status, &gone.json()["status"]), (200, &json!("deleted")));
    assert!(searching.ids(&format!("type={kind}")).await.is_empty());
    assert_eq!(searching.get(&format!("/api/search/{kind}%2Fa")).await.status, 404);
    assert_eq!(searching.delete(&format!("{kind}%2Fa")).await.status, 404);
}

async fn a_bad_line_is_its_own_error(searching: &Searching, kind: &str) {
    let good = |id: &str| document(kind, id, "Good", "linden").to_string();
    let long = "x".repeat(250_000);
    let lines = [
        good("a"),
        String::new(),
        r#"{"id":"wrong","title":7}"#.into(),
        "<html>".into(),
        good("b"),
        format!(r#"{{"id":"long","title":"t","text":"{long}"}}"#),
        r#"{"id":"late","title":"t","created_at":"soon"}"#.into(),
        good("c"),
    ];
    // With a mark of byte order before it, and the line ends of another system.
    let body = format!("\u{feff}{}", lines.join("\r\n"));
    let answer = searching.put_raw(body.as_bytes()).await;
    let said = answer.json();
    assert_eq!((answer.status, &said["indexed"], &said["rejected"]), (200, &json!(3), &json!(4)));
    let items = said["items"].as_array().expect("items");
    let told: Vec<_> = items
        .iter()
        .map(|item| {
            let field = item["error"]["field"].as_str().unwrap_or("-");
            format!("{} {} {field}", item["line"], item["status"].as_str().expect("a word"))
        })
        .collect();
    assert_eq!(
        told,
        [
            "1 indexed -",
            "3 rejected title",
            "4 rejected document",
            "5 indexed -",
            "6 rejected document",
            "7 rejected created_at",
            "8 indexed -",
        ]
    );
    assert_eq!(items[1]["id"], "wrong");
    assert_eq!(
        sorted(searching.ids(&format!("q=linden&type={kind}")).await),
        of(kind, &["a", "b", "c"])
    );
}

async fn titles_are_suggested_as_one_types(searching: &Searching, kind: &str) {
    searching
        .put(&[
            document(kind, "a", "Carillon of Bruges", "x"),
            document(kind, "b", "Carillon of Bruges", "x"),
            document(kind, "c", "The great carillon", "x"),
            document(kind, "d", "x", "carillon"),
        ])
        .await;
    let suggested = |answer: Value| -> Vec<String> {
        let all = answer["suggestions"].as_array().expect("suggestions").clone();
        all.iter().map(|one| one["text"].as_str().expect("text").to_string()).collect()
    };
    let said = suggested(searching.get("/api/search/suggest?q=cari").await.json());
    assert_eq!(sorted(said), ["Carillon of Bruges", "The great carillon"]);
    let said = suggested(searching.get("/api/search/suggest?q=carillon+bru").await.json());
    assert_eq!(said, ["Carillon of Bruges"]);
    for query in ["", "?q=", "?q=zzz"] {
        let said = suggested(searching.get(&format!("/api/search/suggest{query}")).await.json());
        assert!(said.is_empty(), "{query}");
    }
}

async fn what_cannot_be_asked_is_said_by_its_name(searching: &Searching, _: &str) {
    let (long, bomb) = ("x".repeat(7000), "a+".repeat(200));
    for (param, query) in [
        ("q", format!("q={long}")),
        ("q", format!("q={bomb}")),
        ("limit", "limit=10000".into()),
        ("limit", "limit=0".into()),
        ("limit", "limit=ten".into()),
        ("sort", "sort=popular".into()),
        ("sort", "sort=".into()),
        ("from", "from=yesterday".into()),
        ("to", "from=2026-02-01&to=2026-01-01".into()),
        ("has_audio", "has_audio=maybe".into()),
        ("type", "type=".into()),
        ("tag", "tag=a".to_string() + &"&tag=a".repeat(16)),
        ("cursor", "cursor=forged".into()),
        ("cursor", "cursor=".into()),
    ] {
        let answer = searching.get(&format!("/api/search?{query}")).await;
        let said = answer.json();
        assert_eq!((answer.status, said["param"].as_str()), (400, Some(param)), "{said}");
        assert!(said["detail"].as_str().is_some_and(|text| text.contains(param)), "{said}");
    }
    let bomb = searching.get(&format!("/api/search/suggest?q={bomb}")).await;
    assert_eq!((bomb.status, &bomb.json()["param"]), (400, &json!("q")));
    assert_eq!(searching.get(&format!("/api/search/{}", "x".repeat(513))).await.status, 400);
}

/// As long as it is short, there is an answer.
async fn what_is_typed_means_something(searching: &Searching, kind: &str) {
    searching.put(&[document(kind, "a", "C++ & Rust: re-index, don't panic (2026)", "x")]).await;
    for query in [
        "%22",
        "%22%22%22",
        "(",
        "a+AND",
        "title:",
        "%5Bx+TO+y%5D",
        "~2",
        "%5C",
        "%7B%7B",
        "a%00b",
        "*",
        "?",
        "%2A%2A%2A",
        "-",
        "--",
        "%F0%9F%94%94",
        "%27%3B+DROP+TABLE",
        "%22unclosed",
        "x%5E9999",
        "%2Fregex%2F",
    ] {
        let answer = searching.get(&format!("/api/search?q={query}&type={kind}")).await;
        assert_eq!(answer.status, 200, "{query}: {}", answer.json());
    }
    for query in ["re-index", "don%27t", "%22don%27t+panic%22", "rust+(2026)", "re-ind*"] {
        assert_eq!(
            searching.ids(&format!("q={query}&type={kind}")).await,
            of(kind, &["a"]),
            "{query}"
        );
    }
}

async fn a_cursor_is_good_for_its_own_question(searching: &Searching, kind: &str) {
    let documents: Vec<_> = (0..4).map(|n| document(kind, &n.to_string(), "Poplar", "x")).collect();
    searching.put(&documents).await;
    for sort in ["relevance", "newest"] {
        let page = searching
            .get(&format!("/api/search?q=poplar&type={kind}&sort={sort}&limit=2"))
            .await
            .json();
        let cursor = page["next_cursor"].as_str().expect("more").to_string();
        let other = searching
            .get(&format!("/api/search?q=poplars+x&type={kind}&sort={sort}&cursor={cursor}"))
            .await;
        assert_eq!((other.status, &other.json()["param"]), (400, &json!("cursor")));
        let (begin, end) = cursor.split_at(cursor.len() / 2);
        let letter = if begin.ends_with('A') { "B" } else { "A" };
        let forged = format!("{}{letter}{end}", &begin[..begin.len() - 1]);
        let answer = searching
            .get(&format!("/api/search?q=poplar&type={kind}&sort={sort}&cursor={forged}"))
            .await;
        assert_eq!(answer.status, 400, "{}", answer.json());
        // The size of a page may change on the way.
        let rest = searching
            .ids(&format!("q=poplar&type={kind}&sort={sort}&limit=9&cursor={cursor}"))
            .await;
        assert_eq!(rest.len(), 2);
    }
}
