//! Answers that many routes give, by what they have in common: the gate in front of them, the door in
//! front of the gate, their access, the shape of their errors.

use http::Method;
use utoipa::ToSchema;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::Operation;
use utoipa::openapi::schema::{ObjectBuilder, Ref, Type};
use utoipa::openapi::{Content, RefOr, Response};

use crate::http::auth::Access;
use crate::http::error::{Envelope, Problem, is_openai};
use crate::http::routes::Rule;
use crate::limits::{HEADER_FIELDS, TARGET_BYTES};

const REQUEST_ID: &str = "x-request-id";
const RETRY_AFTER: &str = "retry-after";
const AUTHENTICATE: &str = "www-authenticate";

/// Adds to `operation` what it has in common with others.
pub fn complete(operation: &mut Operation, rule: &Rule) {
    for (status, text) in gate(rule) {
        let said = operation.responses.responses.entry(status.into());
        let RefOr::T(answer) = said.or_insert_with(|| Response::new("").into()) else { continue };
        if !answer.description.is_empty() {
            answer.description.push(' ');
        }
        answer.description += &text;
    }
    for (status, answer) in &mut operation.responses.responses {
        if let RefOr::T(answer) = answer {
            dress(answer, status, rule.path);
        }
    }
    if let Access::Scope(scope) | Access::Capability(scope) = rule.access {
        let wants = format!("Where the server has keys, one of the scope `{}`.", scope.name());
        let text = operation.description.get_or_insert_default();
        let gap = if text.is_empty() { "" } else { "\n\n" };
        *text = format!("{}{gap}{wants}", text.trim_end());
    }
}

/// What is answered before a handler is asked.
fn gate(rule: &Rule) -> Vec<(&'static str, String)> {
    let mut answers = vec![
        ("400", "The request names no host, or more than one.".to_string()),
        ("414", format!("The path and query are longer than {TARGET_BYTES} bytes.")),
        ("421", "The server has no keys, and does not answer under this name.".to_string()),
        ("429", "A limit of the address is used up, or one of the key.".to_string()),
        ("431", format!("There are more than {HEADER_FIELDS} header fields.")),
        ("503", "There is no room for another connection.".to_string()),
    ];
    let foreign = match rule.method {
        Method::GET => "The server has no keys, and a page of another site asks for an upgrade.",
        _ => "The server has no keys, and it is a page of another site that asks.",
    };
    answers.push(("403", foreign.into()));
    if rule.access != Access::Public {
        answers.push(("401", "There is no key, or it is not one of this server's.".into()));
    }
    if let Access::Scope(scope) | Access::Capability(scope) = rule.access {
        answers.push(("403", format!("The key has not the scope `{}`.", scope.name())));
    }
    answers
}

/// Gives an answer the headers of its status, and an error the body of its place.
fn dress(answer: &mut Response, status: &str, path: &str) {
    let names: &[&str] = match status {
        "401" => &[REQUEST_ID, AUTHENTICATE],
        "429" | "503" => &[REQUEST_ID, RETRY_AFTER],
        _ => &[REQUEST_ID],
    };
    for name in names {
        let header = Ref::new(format!("#/components/headers/{name}"));
        answer.headers.insert((*name).into(), RefOr::Ref(header));
    }
    if status < "400" || !answer.content.is_empty() {
        return;
    }
    let openai = is_openai(path);
    if openai {
        let envelope = Ref::from_schema_name(Envelope::name());
        answer.content.insert("application/json".into(), Content::new(Some(envelope)).into());
    }
    // The door answers in one shape, before it has read where a request goes.
    if !openai || matches!(status, "429" | "503") {
        let problem = Ref::from_schema_name(Problem::name());
        let content = Content::new(Some(problem)).into();
        answer.content.insert("application/problem+json".into(), content);
    }
}

/// The headers that [`complete`] refers to.
pub fn headers() -> [(String, RefOr<Header>); 3] {
    let text = || ObjectBuilder::new().schema_type(Type::String);
    let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0));
    let header = |name: &str, text: &str, schema: ObjectBuilder| {
        let header = HeaderBuilder::new().description(Some(text)).schema(Some(schema));
        (name.to_string(), header.build().into())
    };
    [
        header(REQUEST_ID, "The request's id: the client's own, if it sent a sane one.", text()),
        header(RETRY_AFTER, "Seconds after which it may go better.", seconds),
        header(AUTHENTICATE, "How to send a key.", text()),
    ]
}
