//! What the server does for its media by itself: samples where there is nothing, looks through the folder, and what was found out
//! kept. Invariant: it ends with the server, between two files at the latest.

use std::collections::HashSet;
use std::sync::PoisonError;
use std::time::Instant;

use bytes::Bytes;

use super::{Media, MediaError, samples, store};
use crate::limits;

impl Media {
    /// Looks after the folder until the server stops.
    pub(super) async fn keep(&self, samples: bool) {
        let stopping = self.0.spawner.clone();
        if samples {
            self.make_samples().await;
        }
        let mut ticks = tokio::time::interval(limits::MEDIA_KEEP_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.rescan();
        loop {
            tokio::select! {
                biased;
                () = stopping.stopping() => break,
                () = self.0.rescan.notified() => self.scan().await,
                _ = ticks.tick() => self.write_index().await,
            }
        }
        self.write_index().await;
    }

    async fn scan(&self) {
        let root = self.0.root.clone();
        let walk = move || store::walk(&root, limits::MEDIA_FILES);
        let names = match self.0.spawner.errand("media look", walk).await {
            Some(Ok(names)) => names,
            Some(Err(error)) => {
                return tracing::error!(%error, "the folder of media cannot be read");
            }
            None => return,
        };
        if names.len() > limits::MEDIA_FILES {
            tracing::error!(most = limits::MEDIA_FILES, "there are more media than can be served");
        }
        let there: HashSet<&str> = names.iter().map(|name| &**name).collect();
        for name in self.0.catalogue.names() {
            if !there.contains(&*name) {
                self.0.catalogue.forget(&name);
            }
        }
        for name in &names {
            if self.0.spawner.is_stopping() {
                return;
            }
            let looked = match self.0.catalogue.get(name) {
                Some(entry) => self.look(&entry).await,
                None => self.learn(name).await,
            };
            if let Err(error @ MediaError::Io(_)) = looked {
                tracing::warn!(%error, %name, "a file of media cannot be read");
            }
        }
        *self.0.scanned.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.write_index().await;
    }

    async fn write_index(&self) {
        let this = self.clone();
        let kept = self.0.spawner.errand("media index", move || this.0.catalogue.keep()).await;
        if let Some(Err(error)) = kept {
            tracing::warn!(%error, "what is known of media cannot be kept; the next start hashes it again");
        }
    }

    /// Fills an empty folder with pictures of our own.
    async fn make_samples(&self) {
        let root = self.0.root.clone();
        let walk = move || store::walk(&root, 1);
        let is_empty = self.0.spawner.errand("media look", walk).await;
        if !matches!(is_empty, Some(Ok(names)) if names.is_empty()) {
            return;
        }
        for number in 0..samples::SAMPLES {
            if self.0.spawner.is_stopping() {
                return;
            }
            let made = self.make_sample(number).await;
            if let Err(error) = made {
                return tracing::warn!(%error, "samples cannot be made");
            }
        }
        tracing::info!(
            files = samples::SAMPLES,
            "the folder of media was empty, and has samples now"
        );
    }

    async fn make_sample(&self, number: usize) -> Result<(), MediaError> {
        let mut incoming = self.begin(&samples::name(number)).await?;
        let made = self.0.spawner.errand("media sample", move || samples::sample(number)).await;
        let bytes = Bytes::from(made.ok_or(MediaError::Leaving)?);
        incoming = incoming.write(vec![bytes]).await?;
        incoming.finish().await.map(drop)
    }
}
