//! Documents that are put in, many at once, and taken out. Invariants: a line is read, checked and answered for by itself;
//! what waits to be written is bounded, and no more of a body is read meanwhile.

use std::time::Instant;

use axum::Extension;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use bytes::{Buf, BytesMut};
use serde::Serialize;
use utoipa::ToSchema;

use super::told::{Bulked, Item, NotAnswered, NotTaken};
use super::{Asking, checked_id, enabled};
use crate::http::body::Incoming;
use crate::http::error::{ApiError, Problem};
use crate::http::extract::Path;
use crate::http::request_id::RequestId;
use crate::http::{Peer, Services};
use crate::limits::{BATCH, BULK_BYTES, BULK_LINES, DOCUMENT_LINE_BYTES, KIB};
use crate::search::{Asker, Batch, Change, Document, Index, Origin, Outcome};

/// Puts documents in.
///
/// The body is a document of JSON on each line (`application/x-ndjson`). Whatever is put under an id takes the
/// place of what was there, so that a request that failed may be sent again as a whole. What is wrong with one line
/// keeps no other from being taken.
#[utoipa::path(
    post,
    path = "/api/search/documents",
    tag = "Search",
    operation_id = "put_documents",
    request_body(content = String, content_type = "application/x-ndjson",
        example = "{\"id\":\"a\",\"title\":\"A document\",\"text\":\"What it says.\"}\n"),
    responses(
        (status = 200, description = "A result for each line; they can be found from now on.", body = Bulked),
        NotAnswered,
        NotTaken,
    ),
)]
pub async fn bulk(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(id)): Extension<RequestId>,
    request: Request,
) -> Result<Response, Problem> {
    let began = Instant::now();
    let search = enabled(&services)?;
    // What waits is there as lines, as documents, and as what is sent on; and there are the results.
    let results = BULK_LINES * KIB;
    let asking = Asking::begin(&services, &peer, &id, BATCH.1 + DOCUMENT_LINE_BYTES + results)?;
    let mut lines = Lines::new(request.into_body());
    let mut writing = Writing::new(search.index(), &asking.asker);
    while let Some(line) = lines.next().await? {
        writing.take(line.as_deref()).await?;
    }
    writing.flush().await?;
    let items = writing.into_items();
    let rejected = items.iter().filter(|item| item.error.is_some()).count() as u64;
    let (took_ms, indexed) = (began.elapsed().as_millis() as u64, items.len() as u64 - rejected);
    services.metrics.documents("put", indexed, rejected);
    Ok(asking.answer(&Bulked { took_ms, indexed, rejected, items }))
}

/// That a document is gone.
#[derive(Serialize, ToSchema)]
pub struct Deleted {
    /// The id.
    id: String,
    /// Always `deleted`.
    status: &'static str,
}

/// Takes a document out.
#[utoipa::path(
    delete,
    path = "/api/search/documents/{id}",
    tag = "Search",
    operation_id = "delete_document",
    params(("id" = String, Path, min_length = 1, max_length = 512, description = "Its id.")),
    responses(
        (status = 200, description = "It is gone.", body = Deleted),
        NotAnswered,
        (status = 404, description = "There is none of this id."),
        (status = 507, description = "There is no space left on the disk."),
    ),
)]
pub async fn delete(
    State(services): State<Services>,
    Extension(peer): Extension<Peer>,
    Extension(RequestId(request_id)): Extension<RequestId>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let search = enabled(&services)?;
    checked_id(&id)?;
    let asking = Asking::begin(&services, &peer, &request_id, 4 * KIB)?;
    let batch =
        Batch { changes: vec![Change::Delete(id.clone())], checkpoint: None, is_visible: true };
    let outcomes = search.index().write(batch, &asking.asker).await.map_err(ApiError::from)?;
    if outcomes.first() != Some(&Outcome::Deleted) {
        return Err(ApiError::no_document(&id).into());
    }
    services.metrics.documents("deleted", 1, 0);
    Ok(asking.answer(&Deleted { id, status: "deleted" }))
}

/// What of a body is read and not yet written, and what came of the rest.
struct Writing<'a> {
    index: &'a dyn Index,
    asker: &'a Asker,
    line: u64,
    /// Of each document that waits: its line, its id.
    waiting: Vec<(u64, String)>,
    batch: Batch,
    bytes: usize,
    items: Vec<Item>,
}

impl<'a> Writing<'a> {
    fn new(index: &'a dyn Index, asker: &'a Asker) -> Self {
        let batch = Batch { is_visible: true, ..Batch::default() };
        let (waiting, items) = (Vec::new(), Vec::new());
        Self { index, asker, line: 0, waiting, batch, bytes: 0, items }
    }

    async fn take(&mut self, line: Option<&[u8]>) -> Result<(), ApiError> {
        self.line += 1;
        let Some(line) = line else {
            let message = format!("longer than {DOCUMENT_LINE_BYTES} bytes");
            self.items.push(Item::rejected(self.line, None, "document".into(), message));
            return Ok(());
        };
        if line.trim_ascii().is_empty() {
            return Ok(());
        }
        match Document::parse(line) {
            Ok(document) => {
                self.bytes += document.bytes();
                self.waiting.push((self.line, document.id.clone()));
                self.batch.changes.push(Change::Put(Box::new(document), Origin::Put));
                if self.waiting.len() >= BATCH.0 || self.bytes >= BATCH.1 {
                    self.flush().await?;
                }
            }
            Err(wrong) => {
                let id = id_of(line);
                self.items.push(Item::rejected(self.line, id, wrong.field, wrong.would_do));
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), ApiError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let next = Batch { is_visible: true, ..Batch::default() };
        let batch = std::mem::replace(&mut self.batch, next);
        self.bytes = 0;
        let outcomes = self.index.write(batch, self.asker).await?;
        for ((line, id), outcome) in self.waiting.drain(..).zip(outcomes) {
            self.items.push(Item::of(line, id, outcome));
        }
        Ok(())
    }

    fn into_items(mut self) -> Vec<Item> {
        self.items.sort_by_key(|item| item.line);
        self.items
    }
}

/// The id of a line that is no document, if one can be made out and is short.
fn id_of(line: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        id: String,
    }
    let named: Named = serde_json::from_slice(line).ok()?;
    crate::search::document::check_id(&named.id).is_ok().then_some(named.id)
}

/// A line; none where it is too long.
type Line = Option<BytesMut>;

/// Some programs write it before UTF-8, where it says nothing.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The lines of a body.
struct Lines {
    body: Incoming,
    /// What came and was not read yet.
    rest: BytesMut,
    lines: usize,
    is_over: bool,
}

impl Lines {
    fn new(body: Body) -> Self {
        let (rest, lines, is_over) = (BytesMut::new(), 0, false);
        Self { body: Incoming::new(body, BULK_BYTES), rest, lines, is_over }
    }

    /// The next one, without its end. Of one that is too long for a document only that is kept.
    async fn next(&mut self) -> Result<Option<Line>, ApiError> {
        let (mut looked, mut is_too_long) = (0, false);
        loop {
            let end = self.rest[looked..].iter().position(|byte| *byte == b'\n');
            if self.lines == 0 && self.rest.starts_with(BYTE_ORDER_MARK) {
                self.rest.advance(BYTE_ORDER_MARK.len());
                looked = 0;
                continue;
            }
            if let Some(at) = end {
                let line = self.rest.split_to(looked + at);
                self.rest.advance(1);
                return self.counted(line, is_too_long).map(Some);
            }
            if self.is_over {
                if self.rest.is_empty() && !is_too_long {
                    return Ok(None);
                }
                let line = self.rest.split();
                return self.counted(line, is_too_long).map(Some);
            }
            if is_too_long || self.rest.len() > DOCUMENT_LINE_BYTES {
                is_too_long = true;
                self.rest.clear();
            }
            looked = self.rest.len();
            match self.body.next().await? {
                Some(bytes) => self.rest.extend_from_slice(&bytes),
                None => self.is_over = true,
            }
        }
    }

    fn counted(&mut self, line: BytesMut, is_too_long: bool) -> Result<Line, ApiError> {
        self.lines += 1;
        if self.lines > BULK_LINES {
            return Err(ApiError::too_many_lines(BULK_LINES));
        }
        Ok(if is_too_long || line.len() > DOCUMENT_LINE_BYTES { None } else { Some(line) })
    }
}
