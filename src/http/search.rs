//! Documents: found, read, put in and taken out. Invariant: what a request may hold of them is reserved before the index is
//! asked, and given back with the last byte of the answer; everything that can be wrong with a question is said by
//! its name.

pub mod documents;
mod told;

use std::sync::Arc;
use std::time::Instant;

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header;
use serde::Serialize;

use super::error::{ApiError, Problem};
use super::extract::{Pairs, Path};
use super::media::last;
use super::request_id::RequestId;
use super::{Peer, Services};
use crate::bounds::Stake;
use crate::ledger::Kind;
use crate::limits::{HITS, HITS_MOST, SEARCH_COPIES, SUGGESTIONS, found_bytes};
use crate::search::document::{Document, check_id};
use crate::search::indexer::IndexerState;
use crate::search::query::BadQuestion;
use crate::search::{Asker, Filters, Question, Search, Sort, Words};
use told::{Page, Shown, Suggested, Suggestion, Total};

/// What most answers are said in.
const USUAL_ANSWER_BYTES: usize = 8 * 1024;

/// Finds documents.
///
/// Words are found in all their forms, in titles before texts; of several, most must be there.
/// `"a phrase"` is found as it stands, `begin*` by how words begin, `-word` leaves out. Nothing to look for is
/// everything, the newest first.
///
/// A page goes on with `next_cursor`. By time it stays in place while documents are added; by relevance, it is of
/// the documents as they were at the first page, for a minute.
#[utoipa::path(
    get,
    path = "/api/search",
    tag = "Search",
    operation_id = "search",
    params(told::Parameters),
    responses(
        (status = 200, description = "What was found.", body = Page),
        told::NotAnswered,
        (status = 410, description = "What the cursor goes on with is no longer kept."),
    ),
)]
pub async fn find(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    Pairs(pairs): Pairs,
) -> Result<Response, Problem> {
    let began = Instant::now();
    let search = enabled(&services)?;
    let (question, limit, cursor) = question(pairs)?;
    let asking = Asking::begin(&services, &peer, &id, found_bytes(limit, false))?;
    let found = search.page(question, limit, cursor.as_deref(), &asking.asker).await;
    let (mut found, next_cursor) = found.map_err(ApiError::from)?;
    found.hits.iter_mut().for_each(|hit| last(services.media.as_ref(), &mut hit.document.media));
    let relation = if found.is_more { "gte" } else { "eq" };
    let page = Page {
        took_ms: began.elapsed().as_millis() as u64,
        total: Total { value: found.total, relation },
        hits: found.hits.into_iter().map(Shown::from).collect(),
        next_cursor,
        backend: search.index().name(),
    };
    Ok(asking.answer(&page))
}

/// Suggests titles while somebody types.
#[utoipa::path(
    get,
    path = "/api/search/suggest",
    tag = "Search",
    operation_id = "suggest",
    params(told::SuggestParameters),
    responses(
        (status = 200, description = "Titles in which it stands.", body = Suggested),
        told::NotAnswered,
    ),
)]
pub async fn suggest(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    Pairs(pairs): Pairs,
) -> Result<Response, Problem> {
    let search = enabled(&services)?;
    let said = |name: &str| pairs.iter().find(|(key, _)| key == name).map(|(_, value)| &**value);
    let words = Words::unfinished(said("q").unwrap_or_default()).map_err(ApiError::from)?;
    let limit = limit(said("limit"), SUGGESTIONS, 2 * SUGGESTIONS)?;
    if words.is_empty() {
        return Ok(no_store(axum::Json(Suggested { suggestions: Vec::new() })));
    }
    let asking = Asking::begin(&services, &peer, &id, found_bytes(2 * limit, false))?;
    let hits = search.suggest(words, limit, &asking.asker).await.map_err(ApiError::from)?;
    let mut suggestions: Vec<Suggestion> = Vec::new();
    for hit in hits {
        let (text, id) = (hit.document.title, hit.document.id);
        if suggestions.len() < limit && !suggestions.iter().any(|said| said.text == text) {
            suggestions.push(Suggestion { text, id });
        }
    }
    Ok(asking.answer(&Suggested { suggestions }))
}

/// How the indexer stands, which brings records of a GraphQL source.
#[utoipa::path(
    get,
    path = "/api/search/indexer",
    tag = "Search",
    operation_id = "get_indexer",
    responses(
        (status = 200, description = "How it stands.", body = IndexerState),
        (status = 404, description = "Nothing is indexed here."),
    ),
)]
pub async fn indexer(State(services): State<Services>) -> Result<Response, Problem> {
    let missing = || {
        Problem::not_configured(
            "nothing is indexed here: graphql.url or indexer.endpoints would be the source",
        )
    };
    let indexer = services.indexer.as_ref().ok_or_else(missing)?;
    Ok(no_store(axum::Json(indexer.state())))
}

/// A document.
#[utoipa::path(
    get,
    path = "/api/search/{id}",
    tag = "Search",
    operation_id = "get_document",
    params(("id" = String, Path, min_length = 1, max_length = 512, description = "Its id.")),
    responses(
        (status = 200, description = "The document.", body = Document),
        told::NotAnswered,
        (status = 404, description = "There is none of this id."),
    ),
)]
pub async fn document(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let search = enabled(&services)?;
    checked_id(&id)?;
    let asking = Asking::begin(&services, &peer, &request_id, found_bytes(1, true))?;
    let found = search.index().document(&id, &asking.asker).await.map_err(ApiError::from)?;
    Ok(asking.answer(&found.ok_or_else(|| ApiError::no_document(&id))?))
}

fn enabled(services: &Services) -> Result<&Search, Problem> {
    let missing = || Problem::not_configured("nothing is searched here: search.enabled is false");
    services.search.as_ref().ok_or_else(missing)
}

fn checked_id(id: &str) -> Result<(), ApiError> {
    check_id(id).map_err(|wrong| {
        ApiError::parameter("id", "invalid_parameter", format!("id must be {}", wrong.would_do))
    })
}

/// A look into the index, and what is reserved for it.
struct Asking {
    stake: Arc<Stake>,
    asker: Asker,
}

impl Asking {
    /// For an answer of `bytes`, which lies in memory as it comes, as it is read, and as it goes.
    fn begin(
        services: &Services,
        peer: &Peer,
        id: &Arc<str>,
        bytes: usize,
    ) -> Result<Self, ApiError> {
        let bytes = (bytes * SEARCH_COPIES) as u64;
        let reservation = services.budget.reserve(bytes).ok_or_else(ApiError::no_room_to_search)?;
        let entry = services.ledger.enter(Kind::Search, Arc::clone(id), bytes);
        let (departure, metrics) = (peer.departure.clone(), services.metrics.clone());
        let asker = Asker { owner: Arc::clone(id), departure: Some(departure.clone()) };
        Ok(Self { stake: Stake::new(reservation, entry, departure, metrics), asker })
    }

    /// `body` as JSON, which holds what was reserved until its last byte is gone.
    fn answer(self, body: &impl Serialize) -> Response {
        let mut json = Vec::with_capacity(USUAL_ANSWER_BYTES);
        if serde_json::to_writer(&mut json, body).is_err() {
            json.clear();
        }
        let bytes = Bytes::from_owner(Answer { json, _stake: self.stake });
        no_store(([(header::CONTENT_TYPE, "application/json")], bytes))
    }
}

struct Answer {
    json: Vec<u8>,
    _stake: Arc<Stake>,
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.json
    }
}

fn no_store(answer: impl IntoResponse) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], answer).into_response()
}

/// What is asked, how many hits, and where it goes on.
fn question(pairs: Vec<(String, String)>) -> Result<(Question, usize, Option<String>), ApiError> {
    let (mut words, mut filters) = (Words::default(), Filters::default());
    let (mut sort, mut most, mut cursor) = (None, HITS, None);
    for (name, value) in pairs {
        match name.as_str() {
            "q" => words = Words::parse(&value)?,
            "type" => filters.kind = Some(value),
            "tag" => filters.tags.push(value),
            "creator" => filters.creator = Some(value),
            "from" => filters.from_ms = Some(Filters::time("from", &value)?),
            "to" => filters.to_ms = Some(Filters::time("to", &value)?),
            "has_audio" => {
                let said = value.parse();
                filters.has_audio =
                    Some(said.map_err(|_| ApiError::query("has_audio", "true or false"))?);
            }
            "sort" => {
                let said = [Sort::Relevance, Sort::Newest, Sort::Oldest]
                    .into_iter()
                    .zip(told::SORTS)
                    .find(|(_, name)| *name == value);
                let would_do = "relevance, newest or oldest";
                sort = Some(said.ok_or_else(|| ApiError::query("sort", would_do))?.0);
            }
            "limit" => most = limit(Some(&value), HITS, HITS_MOST)?,
            "cursor" => cursor = Some(value),
            // Others may mean something to whoever stands in front.
            _ => {}
        }
    }
    filters.check()?;
    // Where nothing is looked for, nothing fits better than something else.
    let usual = if words.is_empty() { Sort::Newest } else { Sort::Relevance };
    let question = Question { words, filters, sort: sort.unwrap_or(usual) };
    Ok((question, most, cursor))
}

/// How many are wanted at once: what is `said`, else the `usual` number.
pub(super) fn limit(said: Option<&str>, usual: usize, most: usize) -> Result<usize, ApiError> {
    let Some(said) = said else { return Ok(usual) };
    let number = said.parse().ok().filter(|number| (1..=most).contains(number));
    number.ok_or_else(|| ApiError::query("limit", &format!("a whole number between 1 and {most}")))
}

impl From<BadQuestion> for ApiError {
    fn from(bad: BadQuestion) -> Self {
        ApiError::query(bad.param, &bad.would_do)
    }
}
