//! The sources of records, and which of them is asked. Invariant: one that is far behind the others, or behind what was seen
//! before, is not taken for the truth.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fields::number;
use super::page::Page;
use super::{IndexerConfig, IndexerError, NAME};
use crate::upstream::graphql::Graphql;

/// A GraphQL server that has the records.
#[derive(Clone)]
pub struct Source {
    /// Where it is, as in the settings; its cursors are kept under this.
    pub url: String,
    /// The server.
    pub server: Graphql,
}

impl Source {
    /// Its newest height; none where it cannot be asked.
    async fn height(&self, config: &IndexerConfig) -> Option<u64> {
        let asked = self.server.query(&config.height_query, &Value::Null, NAME.into()).await;
        let told = asked.inspect_err(
            |error| tracing::warn!(source = self.url, %error, "a source does not say its height"),
        );
        number(&told.ok()?.data, &config.height)
    }

    /// The page of at most `first` records behind `after`.
    pub(super) async fn page(
        &self,
        config: &IndexerConfig,
        first: usize,
        after: Option<&str>,
    ) -> Result<Page, IndexerError> {
        let variables = json!({ "first": first, "after": after });
        let owner: Arc<str> = NAME.into();
        let told = self.server.query(&config.query, &variables, owner).await?;
        if let Some(error) = &told.partial {
            // Records may be missing in it, of which nothing would be heard again.
            return Err(IndexerError::NoPage(format!("it has errors beside its data: {error}")));
        }
        Page::read(told.data, &config.connection).map_err(IndexerError::NoPage)
    }
}

/// Those of `sources` that may be asked, in order, and the greatest height that any has.
pub(super) async fn candidates<'a>(
    sources: &'a [Source],
    config: &IndexerConfig,
    seen: u64,
) -> Result<(Vec<&'a Source>, u64), IndexerError> {
    if config.height_query.is_empty() {
        return Ok((sources.iter().collect(), seen));
    }
    let mut heights = Vec::new();
    for source in sources {
        heights.push(source.height(config).await);
    }
    choose(sources, &heights, config.gap, seen)
}

/// See [`candidates`]. One that does not say its height may still be asked, behind those that do.
fn choose<'a, S>(
    sources: &'a [S],
    heights: &[Option<u64>],
    gap: u64,
    seen: u64,
) -> Result<(Vec<&'a S>, u64), IndexerError> {
    let highest = heights.iter().flatten().copied().chain([seen]).max().unwrap_or(seen);
    let is_near = |height: u64| highest.saturating_sub(height) <= gap;
    let all = || sources.iter().zip(heights);
    let near = all().filter(|(_, height)| height.is_some_and(is_near));
    let silent = all().filter(|(_, height)| height.is_none());
    let chosen: Vec<_> = near.chain(silent).map(|(source, _)| source).collect();
    if chosen.is_empty() {
        return Err(IndexerError::Behind { gap, highest });
    }
    Ok((chosen, highest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_that_is_not_far_behind_is_asked() {
        let chosen = |heights: &[Option<u64>], seen| {
            choose(&["a", "b", "c"], heights, 1000, seen)
                .map(|(all, top)| (all.into_iter().copied().collect::<String>(), top))
        };
        assert_eq!(chosen(&[Some(5000), Some(5000), Some(4000)], 0), Ok(("abc".into(), 5000)));
        assert_eq!(chosen(&[Some(3999), Some(5000), None], 0), Ok(("bca".replace('a', ""), 5000)));
        assert_eq!(chosen(&[None, None, None], 9), Ok(("abc".into(), 9)));
        let behind = Err(IndexerError::Behind { gap: 1000, highest: 9000 });
        assert_eq!(chosen(&[Some(7999), Some(1), Some(2)], 9000), behind);
        assert_eq!(chosen(&[Some(8000), Some(1), Some(2)], 9000), Ok(("a".into(), 9000)));
    }
}
