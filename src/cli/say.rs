//! `evensong say`: a text spoken into a file, a pipe or a player, through the same bounded path as
//! the server's streams.

use std::fs::File;
use std::io::{IsTerminal, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Arg, ArgMatches, Command, value_parser};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::io::AsyncWriteExt;
use tokio_stream::StreamExt;

use crate::config::Config;
use crate::ledger::{Departure, Kind};
use crate::server::Core;
use crate::speech::encode::{Format, WAV_HEADER_BYTES, wav_header};
use crate::speech::{Speaking, Utterance};
use crate::tasks::Child;

/// From this many characters on, a bar shows how far it is.
const LONG_TEXT_CHARS: usize = 2000;
/// Programs that play a WAV stream from their standard input.
const PLAYERS: [(&str, &[&str]); 5] = [
    ("pw-cat", &["--playback", "-"]),
    ("paplay", &[]),
    ("aplay", &["-q", "-"]),
    ("ffplay", &["-autoexit", "-nodisp", "-loglevel", "quiet", "-"]),
    ("play", &["-q", "-t", "wav", "-"]),
];

/// Where the audio goes.
enum Sink {
    Stdout,
    File(File, Format),
    Player(Box<Child>),
}

/// The command line.
pub fn command() -> Command {
    Command::new("say")
        .about("Speak a text: to a player, a pipe or a file")
        .arg(
            Arg::new("text")
                .required(true)
                .value_name("TEXT|-")
                .help("The text; - reads it from standard input"),
        )
        .arg(
            Arg::new("output")
                .short('o')
                .long("output")
                .value_name("FILE")
                .value_parser(value_parser!(PathBuf))
                .help("Write a .wav or .pcm file; - is standard output"),
        )
        .arg(Arg::new("voice").long("voice").help("A voice of `voices list`, as en-gb or de+f2"))
        .arg(
            Arg::new("speed")
                .long("speed")
                .value_parser(value_parser!(f32))
                .default_value("1")
                .help("0.25 to 4"),
        )
}

/// Speaks.
pub async fn run(config: &Config, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    super::log::to_stderr("error")?;
    let text = text(matches)?;
    let speed = *matches.get_one::<f32>("speed").unwrap_or(&1.0);
    if !(0.25..=4.0).contains(&speed) {
        bail!("--speed {speed}: between 0.25 and 4");
    }
    let core = super::ready_core(config).await?;
    let result = speak(&core, matches, text, speed).await;
    core.stop().await;
    result.map(|()| ExitCode::SUCCESS)
}

async fn speak(core: &Core, matches: &ArgMatches, text: String, speed: f32) -> anyhow::Result<()> {
    let output = matches.get_one::<std::path::PathBuf>("output");
    let (mut sink, format) = open(core, output.map(std::path::PathBuf::as_path))?;
    let bar = bar(&text);
    let utterance = Utterance {
        text,
        voice: matches.get_one::<String>("voice").cloned(),
        model: None,
        instructions: None,
        speed,
        format,
        owner: "say".into(),
        principal: "say".into(),
        extra_bytes: 0,
        departure: Departure::default(),
    };
    let Speaking { mut reader, spoken, .. } = core.speech.speak(utterance).await?;
    while let Some(bytes) = reader.next().await {
        bar.set_position(spoken.bytes() as u64);
        if !sink.write(&bytes?).await? {
            return Ok(()); // whoever listened has heard enough
        }
    }
    bar.finish_and_clear();
    sink.finish().await
}

fn text(matches: &ArgMatches) -> anyhow::Result<String> {
    let text = matches.get_one::<String>("text").context("a text")?;
    if text != "-" {
        return Ok(text.clone());
    }
    let mut text = String::new();
    std::io::stdin().read_to_string(&mut text).context("standard input is not UTF-8 text")?;
    Ok(text)
}

fn bar(text: &str) -> ProgressBar {
    if text.chars().count() < LONG_TEXT_CHARS || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(text.len() as u64);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {percent}% of the text, {eta} left") {
        bar.set_style(style);
    }
    bar
}

fn open(core: &Core, output: Option<&Path>) -> anyhow::Result<(Sink, Format)> {
    match output {
        Some(path) if path.as_os_str() == "-" => Ok((Sink::Stdout, Format::Wav)),
        Some(path) => {
            let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
            let format = extension.as_deref().and_then(Format::named).with_context(|| {
                let known = Format::ALL.map(|f| format!(".{}", f.name())).join(", ");
                format!("{}: give it one of the endings {known}", path.display())
            })?;
            let file = File::create(path)
                .with_context(|| format!("{} cannot be written", path.display()))?;
            Ok((Sink::File(file, format), format))
        }
        None if !std::io::stdout().is_terminal() => Ok((Sink::Stdout, Format::Wav)),
        None => Ok((Sink::Player(Box::new(player(core)?)), Format::Wav)),
    }
}

fn player(core: &Core) -> anyhow::Result<Child> {
    for (program, args) in PLAYERS {
        let mut command = tokio::process::Command::new(program);
        command.args(args);
        if let Ok(child) = Child::start(command, &core.ledger, Kind::Worker, program) {
            return Ok(child);
        }
    }
    let names = PLAYERS.map(|(name, _)| name).join(", ");
    bail!("no player found ({names}): write a file with -o hello.wav, or pipe the output")
}

impl Sink {
    /// False when the other side wants no more.
    async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<bool> {
        let result = match self {
            Sink::Stdout => std::io::stdout().write_all(bytes),
            Sink::File(file, _) => file.write_all(bytes),
            Sink::Player(child) => match child.stdin.as_mut() {
                Some(pipe) => pipe.write_all(bytes).await,
                None => return Ok(false),
            },
        };
        match result {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(error).context("the audio could not be written"),
        }
    }

    async fn finish(self) -> anyhow::Result<()> {
        match self {
            Sink::Stdout => Ok(std::io::stdout().flush()?),
            // A file knows its length in the end, unlike a stream.
            Sink::File(mut file, Format::Wav) => {
                let data = file.stream_position()?.saturating_sub(WAV_HEADER_BYTES as u64);
                file.seek(SeekFrom::Start(0))?;
                Ok(file.write_all(&wav_header(u32::try_from(data).ok()))?)
            }
            Sink::File(..) => Ok(()),
            Sink::Player(child) => {
                // It plays what it has; a person who has heard enough presses Ctrl-C.
                child.end(Duration::from_secs(3600)).await;
                Ok(())
            }
        }
    }
}
