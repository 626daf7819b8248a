//! The command line. Invariant: what a command prints for programs goes to standard output, what it
//! says to people to standard error; an error says what to do.

mod ask;
mod check;
mod index;
mod keys;
mod log;
mod say;
mod serve;
mod voices;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::{Config, KEYS, Kind, Settings};
use crate::speech::process;

/// Runs the command that `args` name.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = command().get_matches_from(args);
    match dispatch(&matches) {
        Ok(code) => code,
        Err(error) => {
            // Not `eprintln`, which panics where nothing can be said.
            let _ = writeln!(std::io::stderr(), "evensong: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    if let Some(("engine", engine)) = matches.subcommand() {
        let name = engine.get_one::<String>("name").context("an engine's name")?;
        let library = engine.get_one::<PathBuf>("library").map(PathBuf::as_path);
        process::run(name, library)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (name, sub) = matches.subcommand().unwrap_or(("serve", matches));
    let settings = settings(sub)?;
    if name == "keys" {
        return keys::run(&settings, sub);
    }
    let config = settings.check()?;
    match name {
        "check" if sub.get_flag("health") => check::health(&config),
        "check" => check::print(&settings),
        "index" => block_on(index::run(&config, sub)),
        "ask" => block_on(ask::run(&config, sub)),
        "say" => block_on(say::run(&config, sub)),
        "voices" => block_on(voices::run(&config)),
        // Before the command or behind it.
        _ => {
            block_on(serve::run(&config, matches.get_flag("announce") || sub.get_flag("announce")))
        }
    }
}

fn settings(matches: &ArgMatches) -> anyhow::Result<Settings> {
    let env = |name: &str| std::env::var(name).ok();
    let file = matches.get_one::<PathBuf>("config").cloned();
    let file = file.or_else(|| env("EVENSONG_CONFIG").map(PathBuf::from));
    let flag = |name: &str| matches.try_get_one::<String>(name).ok().flatten().cloned();
    Ok(Settings::read(file.as_deref(), env, flag)?)
}

/// Runs `future`; what hangs in a thread when it has ended does not hold up the exit.
fn block_on(future: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .max_blocking_threads(crate::limits::BLOCKING_THREADS)
        .build();
    let runtime = runtime.context("the runtime could not be started")?;
    let ended = runtime.block_on(future);
    runtime.shutdown_timeout(crate::limits::SHUTDOWN_RUNTIME);
    ended
}

/// With the commit that it was built of, as who reports a fault should say it.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("EVENSONG_REVISION"), ")");

/// The whole command line.
pub fn command() -> Command {
    let voices = Command::new("voices")
        .about("The voices that can speak")
        .subcommand(Command::new("list").about("List them"));
    let check = Command::new("check")
        .about("Print the settings in force, without secrets")
        .arg(flag("health").help("Ask a running server whether it lives; exit 0 or 1"));
    let engine = Command::new("engine")
        .hide(true)
        .arg(Arg::new("name").required(true).value_parser(process::NAMES))
        .arg(Arg::new("library").value_parser(value_parser!(PathBuf)));
    let announce =
        flag("announce").help("Print the addresses in use as one line of JSON on standard output");
    let root = Command::new("evensong")
        .version(VERSION)
        .about("A voice and TTS streaming service whose memory stays flat")
        .arg(announce.clone())
        .subcommand(Command::new("serve").about("Serve (the default)").arg(announce))
        .subcommands([
            say::command(),
            ask::command(),
            index::command(),
            voices,
            keys::command(),
            check,
            engine,
        ])
        .arg(
            Arg::new("config")
                .long("config")
                .value_name("FILE")
                .global(true)
                .value_parser(value_parser!(PathBuf))
                .help("A TOML file; see evensong.example.toml [env: EVENSONG_CONFIG]"),
        );
    KEYS.iter().fold(root, |root, key| {
        let help = format!("{} [env: {}]", key.help, key.env());
        let arg = Arg::new(key.name).long(key.flag()).global(true).help(help);
        root.arg(
            match key.kind {
                Kind::Switch => {
                    arg.num_args(0..=1).require_equals(true).default_missing_value("true")
                }
                _ => arg.value_name("VALUE"),
            }
            .help_heading("Settings"),
        )
    })
}

fn flag(name: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue)
}

/// Used by commands that speak without serving.
async fn ready_core(config: &Config) -> anyhow::Result<crate::server::Core> {
    let core = crate::server::Core::start(config).await?;
    match core.settled().await {
        crate::speech::Health::Unavailable(reason) => {
            core.stop().await;
            anyhow::bail!(reason)
        }
        _ => Ok(core),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn settings_can_be_given_before_and_behind_a_command() {
        for args in [
            &["evensong", "--speech-workers", "7", "check"][..],
            &["evensong", "check", "--speech-workers=7"],
            &["evensong", "--speech-workers=7"],
        ] {
            let matches = command().try_get_matches_from(args).expect("parses");
            let (_, sub) = matches.subcommand().unwrap_or(("serve", &matches));
            let config = settings(sub).expect("read").check().expect("good");
            assert_eq!(config.speech.workers, 7, "{args:?}");
        }
    }
}
