//! What is found in documents and what is refused of them, by example, against a model, and against what means harm.

use super::*;
use proptest::prelude::*;

fn caps(depth: usize) -> Caps {
    Caps { body_bytes: 65_536, depth, introspection: true, allow: Vec::new() }
}

fn kind(query: &str) -> Result<Kind, Refused> {
    check(query, None, &caps(12))
}

/// The least depth with which it passes.
fn depth(query: &str) -> usize {
    let refused = |most: &usize| check(query, None, &caps(*most)).is_err();
    (1..=64).find(|most| !refused(most)).unwrap_or_else(|| panic!("{:?}", kind(query)))
}

#[test]
fn depth_is_that_of_selections_with_fragments_written_out() {
    for (query, deep) in [
        ("{a}", 1),
        ("query Q($x: [In!]! = [{a: {b: {c: [1]}}}] @d) @d(a: {b: {}}) {a(x: {y: {z: 1}})}", 1),
        ("{a{b} c{d{e}} f}", 3),
        ("{a: b{c: d @include(if: $x) {e}}}", 3),
        ("{... {a}}", 2),
        ("{... on T @d {a} ... @skip(if: true) {b{c}}}", 3),
        ("{...F} fragment F on T {a}", 2),
        ("{a{...F b}} fragment F on T {c{d}}", 4),
        ("fragment F on T {c{d}} {a{...F} ...F}", 4),
        ("{...A} fragment A on T {...B} fragment B on T {...C ...C} fragment C on T {x}", 4),
        ("{a} fragment Unused on T {b{c{d}}}", 3),
        ("{...Nobody}", 1),
        ("{a(s: \"}}{{{\", t: \"\"\"{{{\"\"\") # {{{\n}", 1),
        // The chain by which types of the schema are unwrapped does not count; elsewhere the name means nothing.
        ("{__schema{types{ofType{ofType{ofType{name}}}}}}", 3),
        ("{__type(name: \"T\"){...F}} fragment F on __Type {ofType{ofType{name}}}", 3),
        ("{... on __Type {ofType{ofType{name}}}}", 2),
        ("{a{ofType{ofType{ofType{name}}}}}", 5),
        ("{__typename ofType{a}}", 2),
    ] {
        assert_eq!(depth(query), deep, "{query}");
    }
}

#[test]
fn the_usual_question_for_the_schema_passes() {
    // As GraphiQL and code generators ask it.
    let of_type = "kind name ofType{".repeat(9) + "kind name" + &"}".repeat(9);
    let query = format!(
        "query IntrospectionQuery {{ __schema {{ queryType {{ name }} types {{ ...FullType }} \
         directives {{ name args(includeDeprecated: true) {{ ...InputValue }} }} }} }} \
         fragment FullType on __Type {{ kind fields(includeDeprecated: true) {{ name args {{ \
         ...InputValue }} type {{ ...TypeRef }} }} possibleTypes {{ ...TypeRef }} }} \
         fragment InputValue on __InputValue {{ name type {{ ...TypeRef }} defaultValue }} \
         fragment TypeRef on __Type {{ {of_type} }}"
    );
    assert_eq!((kind(&query), depth(&query)), (Ok(Kind::Query), 9));
    let shut = Caps { introspection: false, ..caps(12) };
    let refused = check(&query, None, &shut).expect_err("is refused").to_string();
    assert_eq!(refused, "query, line 1, column 28: __schema is not answered here");
    let aliased = "query Q {\n  a: __type(name: \"T\") { name }\n}";
    let refused = check(aliased, None, &shut).expect_err("is refused").to_string();
    assert_eq!(refused, "query, line 2, column 6: __type is not answered here");
    for fine in ["{__typename}", "{__schema: a}", "{a(b: \"__schema\")}", "{a @b(c: __type)}"] {
        assert_eq!(check(fine, None, &shut), Ok(Kind::Query), "{fine}");
    }
}

#[test]
fn what_is_no_document_is_refused_where_it_goes_wrong() {
    for (query, said) in [
        ("", "query: there is no operation in it"),
        (" # nothing", "query: there is no operation in it"),
        ("fragment F on T {a}", "query: there is no operation in it"),
        ("{", "line 1, column 2: a name was expected, and the end is there"),
        ("{a", "line 1, column 3: a name was expected, and the end is there"),
        ("{}", "line 1, column 2: a name was expected, and '}' is there"),
        ("{a}}", "line 1, column 4: an operation or a fragment was expected"),
        ("{a\n  {b}\n}\n}", "line 4, column 1:"),
        ("query {a(b:)}", "line 1, column 12: a value was expected, and ')' is there"),
        ("query ($a Int) {a}", "':' was expected, and 'Int' is there"),
        ("query () {a}", "'$' was expected, and ')' is there"),
        ("{a()}", "a name was expected"),
        ("{...on}", "a name was expected"),
        ("fragment on on T {a}", "a name was expected, and 'on' is there"),
        ("fragment F {a}", "'on' was expected, and '{' is there"),
        ("type T {a: Int}", "an operation or a fragment was expected, and 'type' is there"),
        ("select * from t", "an operation or a fragment was expected, and 'select' is there"),
        ("{ä}", "line 1, column 2: 'ä' has no meaning here"),
        ("{a \u{0}}", "line 1, column 4: '\\0' has no meaning here"),
        ("{a(b: \"x)}", "line 1, column 7: a string begins here and does not end"),
        ("subscription {a}", "query: subscriptions are not served here"),
        ("{a} subscription S {a}", "query: subscriptions are not served here"),
        ("{...A} fragment A on T {a{...A}}", "the fragment 'A' has itself in it"),
        ("{a} fragment A on T {...B} fragment B on T {...A}", "has itself in it"),
        ("{a} fragment A on T {a} fragment A on T {b}", "two fragments of the name 'A'"),
        ("query A {a} query A {b}", "two operations of the name 'A'"),
        ("query A {a} query B {b}", "operationName: query has several operations; say which"),
    ] {
        let error = kind(query).expect_err(query).to_string();
        assert!(error.contains(said), "{query}: {error}");
    }
}

#[test]
fn the_operation_that_is_meant_is_known_and_may_have_to_be_allowed() {
    let (several, named) = ("query A {a} mutation B {b} fragment F on T {c}", Some("B"));
    assert_eq!(check(several, named, &caps(12)), Ok(Kind::Mutation));
    assert_eq!(check(several, Some("A"), &caps(12)), Ok(Kind::Query));
    assert_eq!(kind("\"What it is for.\" mutation {a}"), Ok(Kind::Mutation));
    for other in ["C", "F", "a"] {
        let refused = Err(Refused::NoSuch(other.into()));
        assert_eq!(check(several, Some(other), &caps(12)), refused);
    }
    let allow = Caps { allow: vec!["A".into(), "C".into()], ..caps(12) };
    for (query, named, said) in [
        ("query A {a}", None, Ok(Kind::Query)),
        ("query A {a}", Some("A"), Ok(Kind::Query)),
        (several, Some("A"), Ok(Kind::Query)),
        (several, named, Err(Refused::NotAllowed("B".into()))),
        ("query a {a}", None, Err(Refused::NotAllowed("a".into()))),
        ("{a}", None, Err(Refused::Nameless)),
        ("query {a}", None, Err(Refused::Nameless)),
    ] {
        assert_eq!(check(query, named, &allow), said, "{query}");
    }
}

#[test]
fn nothing_is_so_deep_or_so_many_that_it_does_harm() {
    let many = |n: usize| "{".repeat(n);
    for (query, said) in [
        (many(500_000), "a name was expected"),
        ("{a".repeat(300_000), "nested deeper than 64 levels"),
        ("{...".repeat(300_000), "nested deeper than 64 levels"),
        (format!("{{a(b: {}", "[".repeat(500_000)), "nested deeper than 64 levels"),
        (format!("{{a(b: {}", "{a:".repeat(300_000)), "nested deeper than 64 levels"),
        (format!("query ($a: {}", "[".repeat(500_000)), "nested deeper than 64 levels"),
        ("{__type{".to_string() + &"ofType{".repeat(300_000), "nested deeper than 64 levels"),
        ("{a}".repeat(300_000), "more than 256 definitions"),
        (format!("{{{}}}", "...F ".repeat(3000)), "more than 2048 spreads"),
        ("{a".repeat(13) + &"}".repeat(13), "nested deeper than 12 levels, fragments written out"),
    ] {
        let error = kind(&query).expect_err("is refused").to_string();
        assert!(error.contains(said), "{error}");
    }
    // Each doubles what the one before it brings: written out it would have 2^250 fields.
    let bomb = (0..250).map(|n| format!("fragment F{n} on T {{...F{0} ...F{0}}}", n + 1));
    let bomb = format!("{{...F0}} {} fragment F250 on T {{a}}", bomb.collect::<String>());
    assert_eq!(kind(&bomb), Err(Refused::TooDeep { most: 12 }));
}

/// A selection: its text and its depth.
fn selections() -> impl Strategy<Value = (String, usize)> {
    let leaf = prop_oneof![
        Just("a"),
        Just("b: c(x: {y: [1, 2.5e3, \"}\", $z, E]})"),
        Just("d @e(f: \"\"\"{\"\"\")"),
        Just("__typename # {{{\n"),
    ];
    let leaf = leaf.prop_map(|text| (text.to_string(), 0));
    leaf.prop_recursive(6, 40, 4, |inner| {
        let head = prop_oneof![Just("a"), Just("b: c"), Just("..."), Just("... on T @d(a: 1)")];
        (head, prop::collection::vec(inner, 1..4)).prop_map(|(head, inner)| {
            let deepest = inner.iter().map(|(_, depth)| *depth).max().unwrap_or_default();
            let texts: Vec<_> = inner.into_iter().map(|(text, _)| text).collect();
            (format!("{head} {{{}}}", texts.join(", ")), deepest + 1)
        })
    })
}

proptest! {
    /// Against a model: texts that are made with their depth known.
    #[test]
    fn the_depth_of_what_is_made_is_found((text, inner) in selections(), spread in 0usize..4) {
        prop_assert_eq!(depth(&format!("query Q($z: Int) {{{text}}}")), inner + 1);
        // The same as a fragment, so many selections deep.
        let around = "x {".repeat(spread);
        let query = format!("{{{around}...F{}}} fragment F on T {{{text}}}", "}".repeat(spread));
        prop_assert_eq!(depth(&query), spread + 1 + inner + 1);
    }

    #[test]
    fn no_text_does_harm(text in "[{}()\\[\\]:!$@.\"\\\\#,a\u{e9}\u{feff}0-9 \n-]{0,60}", any in any::<String>()) {
        let _ = (kind(&text), kind(&any), kind(&format!("{{{text}}}")));
    }

    /// Of a good document cut anywhere, the place that is named lies within it.
    #[test]
    fn what_is_cut_off_is_refused((text, _) in selections(), at in any::<prop::sample::Index>()) {
        let whole = format!("{{{text}}}");
        let cut = &whole[..at.index(whole.len())];
        if whole.is_char_boundary(cut.len()) {
            prop_assert!(kind(cut).is_err(), "{cut}");
        }
    }
}
