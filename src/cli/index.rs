//! `evensong index`: what the indexer of a server does, by hand. It shows how far it has come, can be interrupted at any point,
//! and goes on from there the next time.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Arg, ArgAction, ArgMatches, Command};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use tokio::time::Instant;

use crate::config::Config;
use crate::ledger::Ledger;
use crate::limits::{ENGINE_LOOK, ENGINE_POLL, SHUTDOWN_HARD_STOP};
use crate::metrics::Metrics;
use crate::search::indexer::{Indexer, IndexerError, Progress, Run};
use crate::search::{Health, Search, embedded};
use crate::server;
use crate::tasks::{Scope, Signals};
use crate::upstream::Parts;

/// A search engine that is starting as well has so long to be there.
const ENGINE_WAIT: Duration = Duration::from_secs(60);

/// The command line.
pub fn command() -> Command {
    let switch = |name, help| Arg::new(name).long(name).action(ArgAction::SetTrue).help(help);
    Command::new("index")
        .about("Bring the records of the GraphQL source into the index, as a server does")
        .arg(switch("once", "Stop when nothing is left to bring").conflicts_with("rebuild"))
        .arg(switch(
            "rebuild",
            "Begin anew, stop when nothing is left, and forget what the source no longer has",
        ))
}

/// Indexes. Ctrl-C and SIGTERM end it within a second.
pub async fn run(config: &Config, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    super::log::to_stderr("warn")?;
    let setup = config.indexer.as_ref().context(
        "there is no source: say where one is with graphql.url or indexer.endpoints \
         (--graphql-url http://localhost:4000/graphql)",
    )?;
    let settings = config.search.as_ref().context("search.enabled is false")?;
    let ledger = Ledger::new();
    let (scope, upstreams) = (Scope::new("index", ledger.clone()), Scope::new("upstreams", ledger));
    let (metrics, tls) = (Metrics::default(), Default::default());
    let parts = Parts { spawner: upstreams.spawner(), metrics, tls };
    let (search, _) = server::search::start(config, settings, &scope.spawner(), &parts).await?;
    let (indexer, _) = server::search::indexer(config, setup, &search, None, &parts).await?;
    let mut signals = Signals::listen()?;
    let ended = tokio::select! {
        biased;
        _ = signals.leave() => None,
        ended = work(&indexer, &search, matches) => Some(ended),
    };
    scope.stop(SHUTDOWN_HARD_STOP).await;
    upstreams.stop(Duration::ZERO).await;
    match ended {
        Some(ended) => ended.map(|()| ExitCode::SUCCESS),
        None => {
            let state = indexer.state();
            say(format_args!(
                "Interrupted. {} records are kept; it goes on from there.",
                HumanCount(state.records)
            ));
            Ok(ExitCode::from(130))
        }
    }
}

async fn work(indexer: &Indexer, search: &Search, matches: &ArgMatches) -> anyhow::Result<()> {
    ready(search).await?;
    let run = if matches.get_flag("rebuild") { Run::Rebuild } else { Run::Once };
    let bar = bar();
    loop {
        let began = Instant::now();
        let mut last = Progress::default();
        let ended = indexer.run(run, |progress| {
            last = progress;
            bar.set_position(progress.total);
            let state = indexer.state();
            bar.set_message(message(&progress, state.lag_seconds, state.records_per_second));
        });
        match ended.await {
            Ok(()) => bar.finish_and_clear(),
            Err(IndexerError::Elsewhere) => {
                bar.set_message("another process indexes at present; waiting");
                tokio::time::sleep(ENGINE_LOOK).await;
                continue;
            }
            Err(error) => {
                bar.abandon();
                return Err(error.into());
            }
        }
        let state = indexer.state();
        let records = HumanCount(state.records);
        let took = HumanDuration(began.elapsed());
        say(format_args!(
            "Nothing is left to bring: {records} records in all, {} of them in no index; {took}.",
            HumanCount(state.rejected)
        ));
        for rejection in &state.rejections {
            let id = rejection.id.as_deref().unwrap_or("(no id)");
            say(format_args!("  {id}: {}", rejection.why));
        }
        if run == Run::Rebuild || matches.get_flag("once") {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_secs_f64(state.interval_seconds)).await;
    }
}

/// To standard error; that nobody reads it is no reason to stop.
fn say(what: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Waits until the index can be written to.
async fn ready(search: &Search) -> anyhow::Result<()> {
    let until = Instant::now() + ENGINE_WAIT;
    loop {
        match search.index().health() {
            Health::Ready => return Ok(()),
            // A disk does not come by waiting.
            Health::Unavailable(why)
                if search.index().name() == embedded::NAME || Instant::now() >= until =>
            {
                bail!("the index cannot be used: {why}")
            }
            Health::Starting if Instant::now() >= until => bail!("the index is not ready"),
            _ => tokio::time::sleep(ENGINE_POLL).await,
        }
    }
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::no_length();
    let style = ProgressStyle::with_template("{spinner} {human_pos} records · {msg} · {elapsed}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
    bar
}

fn message(progress: &Progress, lag_seconds: u64, rate: f64) -> String {
    let rate = HumanCount(rate as u64);
    let lag = HumanDuration(Duration::from_secs(lag_seconds));
    let rejected = match progress.rejected {
        0 => String::new(),
        some => format!(" · {some} in no index"),
    };
    format!("{rate}/s · {lag} behind{rejected}")
}
