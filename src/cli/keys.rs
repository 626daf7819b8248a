//! `evensong keys`: who may use a server that asks for keys. A key itself goes to standard output,
//! once; all else is for people.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};

use crate::config::Settings;
use crate::http::auth::{Scope, keys};
use crate::http::limit::Rates;

/// The command line.
pub fn command() -> Command {
    let name = Arg::new("name").required(true).value_name("NAME");
    let rate = |name: &'static str, what: &'static str| {
        let help = format!("{what} a minute; 0 is no limit; without it, the configured one");
        Arg::new(name).long(name).value_name("N").value_parser(value_parser!(u32)).help(help)
    };
    let scopes = Scope::ALL.map(Scope::name);
    let scope = Arg::new("scope")
        .long("scope")
        .action(ArgAction::Append)
        .value_delimiter(',')
        .value_parser(scopes)
        .help("What it may be used for; again for more; without it, all but admin");
    Command::new("keys")
        .about("API keys: make, list and revoke them in keys_file")
        .after_help(
            "A running server reads the file again on SIGHUP:\n  \
             evensong keys add kiosk --keys-file keys.toml && kill -HUP \"$(pgrep -o evensong)\"",
        )
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommand(
            Command::new("add")
                .about("Make a key and print it, once")
                .arg(name.clone().help("Letters, digits, '-', '_' and '.'"))
                .arg(scope)
                .arg(rate("requests-per-minute", "Requests"))
                .arg(rate("starts-per-minute", "Streams and dialogues begun"))
                .arg(rate("characters-per-minute", "Characters to be spoken")),
        )
        .subcommand(Command::new("list").about("List them"))
        .subcommand(Command::new("revoke").about("Strike one out").arg(name))
}

/// Runs it.
pub fn run(settings: &Settings, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let file = settings.keys_file().context(
        "no keys_file is set: say where with --keys-file FILE, EVENSONG_KEYS_FILE or keys_file = …",
    )?;
    match matches.subcommand() {
        Some(("add", add)) => {
            let name = add.get_one::<String>("name").context("a name")?;
            let scopes = scopes(add);
            let rate = |name: &str| add.get_one::<u32>(name).copied();
            let rates = Rates {
                requests: rate("requests-per-minute"),
                starts: rate("starts-per-minute"),
                characters: rate("characters-per-minute"),
            };
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let key = keys::add(file, name, &scopes, rates, &now)?;
            println!("{key}");
            let names: Vec<_> = scopes.iter().map(|scope| scope.name()).collect();
            eprintln!("Key '{name}' for {} is in {}.", names.join(", "), file.display());
            eprintln!("It is shown this once; a running server knows it after SIGHUP.");
        }
        Some(("revoke", revoke)) => {
            let name = revoke.get_one::<String>("name").context("a name")?;
            keys::revoke(file, name)?;
            eprintln!("Key '{name}' is revoked; a running server forgets it on SIGHUP.");
        }
        _ => list(&keys::records(file)?),
    }
    Ok(ExitCode::SUCCESS)
}

fn scopes(matches: &ArgMatches) -> Vec<Scope> {
    let Some(named) = matches.get_many::<String>("scope") else { return Scope::USUAL.to_vec() };
    let named: Vec<_> = named.collect();
    Scope::ALL.into_iter().filter(|scope| named.iter().any(|name| *name == scope.name())).collect()
}

fn list(records: &[keys::Record]) {
    if records.is_empty() {
        eprintln!("There are no keys: nobody is let in.");
        return;
    }
    println!("{:<24} {:<38} {:<22} LIMITS A MINUTE", "NAME", "SCOPES", "CREATED");
    for record in records {
        let scopes: Vec<_> = record.scopes.iter().map(|scope| scope.name()).collect();
        let Rates { requests, starts, characters } = record.rates;
        let parts = [("requests", requests), ("starts", starts), ("characters", characters)];
        let parts = parts.iter().filter_map(|(name, rate)| Some(format!("{name} {}", (*rate)?)));
        let limits = parts.collect::<Vec<_>>().join(", ");
        let limits = if limits.is_empty() { "as configured" } else { &limits };
        let (name, scopes, created) = (&record.name, scopes.join(","), &record.created);
        println!("{name:<24} {scopes:<38} {created:<22} {limits}");
    }
}
