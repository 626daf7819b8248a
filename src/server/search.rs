//! Builds the index. Invariant: a server whose index cannot be opened speaks all the same, and says why it cannot search.

use std::path::Path;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;

use anyhow::Context;

use crate::bounds::signing::SigningKey;
use crate::config::{Config, IndexerSetup, SearchConfig};
use crate::search::elastic::Elastic;
use crate::search::embedded::{self, Embedded};
use crate::search::indexer::{Indexer, Source};
use crate::search::{
    Asker, Batch, Document, Found, Health, Index, Outcome, Search, SearchError, Signer, Wish, guide,
};
use crate::tasks::Spawner;
use crate::upstream::graphql::Graphql;
use crate::upstream::{Parts, Rolled, Upstream};

/// The index as configured, and what the operator may ask of its clients.
pub async fn start(
    config: &Config,
    search: &SearchConfig,
    spawner: &Spawner,
    parts: &Parts,
) -> anyhow::Result<(Search, Option<Box<dyn Rolled>>)> {
    // Cursors that outlive a restart want a place for their key.
    let signer = Signer::new(SigningKey::of(config.data.as_deref(), "cursor.key")?);
    if let Some(engine) = &search.engine {
        let started = Upstream::start(engine.upstream.clone(), parts).await;
        let upstream = started.map_err(|why| anyhow::anyhow!("search.elasticsearch_url: {why}"))?;
        let row = upstream.rolled();
        let index = Elastic::start(upstream, &engine.index, spawner);
        return Ok((Search::new(Arc::new(index), signer), Some(row)));
    }
    let index: Arc<dyn Index> = match on_disk(config.data.as_deref(), search.guide, spawner).await {
        Ok(index) => Arc::new(index),
        Err(error) => {
            tracing::error!(%error, "nothing can be searched until this is mended");
            Arc::new(Missing(error.to_string()))
        }
    };
    Ok((Search::new(index, signer), None))
}

/// The indexer as configured, which does nothing yet; and what the operator may ask of the clients of its sources.
pub async fn indexer(
    config: &Config,
    setup: &IndexerSetup,
    search: &Search,
    graphql: Option<&Graphql>,
    parts: &Parts,
) -> anyhow::Result<(Indexer, Vec<Box<dyn Rolled>>)> {
    let (mut sources, mut rows) = (Vec::new(), Vec::new());
    for (url, own) in &setup.sources {
        let server = match (own, graphql) {
            (None, Some(graphql)) => graphql.clone(),
            (own, _) => {
                let of_clients = || config.graphql.as_ref().map(|graphql| &graphql.upstream);
                let upstream = own.as_ref().or_else(of_clients).context("graphql.url")?;
                let started = Graphql::start(upstream.clone(), parts).await;
                let server = started.map_err(|why| anyhow::anyhow!("indexer.endpoints: {why}"))?;
                rows.push(server.rolled());
                server
            }
        };
        sources.push(Source { url: url.clone(), server });
    }
    // Where nothing is kept on this machine, several may index at once: a record is put there twice, and is there once.
    let lock = config.data.as_ref().map(|folder| folder.join("indexer.lock"));
    let (index, metrics) = (search.shared_index(), parts.metrics.clone());
    Ok((Indexer::new(setup.config.clone(), index, sources, lock, metrics), rows))
}

async fn on_disk(
    data: Option<&Path>,
    with_guide: bool,
    spawner: &Spawner,
) -> Result<Embedded, SearchError> {
    let Some(data) = data else {
        let why = "there is no folder for it; name one by the setting data";
        return Err(SearchError::Broken(why.into()));
    };
    let index = Embedded::start(data, spawner.clone()).await?;
    if with_guide && index.guide().await?.as_deref() != Some(&guide::version()) {
        match index.write_guide(guide::batch(), guide::version()).await {
            // Whoever writes now has put it there, or will at the next start.
            Ok(()) | Err(SearchError::Locked) => {}
            Err(error) => tracing::warn!(%error, "Evensong's documentation is not in the index"),
        }
    }
    Ok(index)
}

/// What stands in the place of an index that cannot be opened.
struct Missing(String);

impl Missing {
    fn refuse<T: Send + 'static>(&self) -> BoxFuture<'_, Result<T, SearchError>> {
        std::future::ready(Err(SearchError::Unavailable(self.0.clone()))).boxed()
    }
}

impl Index for Missing {
    fn name(&self) -> &'static str {
        embedded::NAME
    }

    fn find<'a>(&'a self, _: &'a Wish, _: &'a Asker) -> BoxFuture<'a, Result<Found, SearchError>> {
        self.refuse()
    }

    fn document<'a>(
        &'a self,
        _: &'a str,
        _: &'a Asker,
    ) -> BoxFuture<'a, Result<Option<Document>, SearchError>> {
        self.refuse()
    }

    fn write<'a>(
        &'a self,
        _: Batch,
        _: &'a Asker,
    ) -> BoxFuture<'a, Result<Vec<Outcome>, SearchError>> {
        self.refuse()
    }

    fn checkpoint<'a>(
        &'a self,
        _: &'a Asker,
    ) -> BoxFuture<'a, Result<Option<String>, SearchError>> {
        self.refuse()
    }

    fn forget<'a>(&'a self, _: u64, _: &'a Asker) -> BoxFuture<'a, Result<u64, SearchError>> {
        self.refuse()
    }

    fn health(&self) -> Health {
        Health::Unavailable(self.0.clone())
    }
}
