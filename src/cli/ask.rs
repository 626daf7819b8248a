//! `evensong ask`: a question to whoever writes the answers (a language model, or what was found in the index), who is asked as a dialogue would ask. The answer goes to
//! standard output as it comes; on a terminal, without the characters that would command it.

use std::io::{IsTerminal, Read, Write};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, anyhow, bail};
use clap::{Arg, ArgMatches, Command};
use tokio_stream::StreamExt;

use crate::answer::found::Found;
use crate::answer::{AnswerError, Finish, History, Piece, Pieces, Question, Responder};
use crate::config::Config;
use crate::ledger::{Departure, Ledger};
use crate::limits::QUESTION_BYTES;
use crate::metrics::Metrics;
use crate::search::Health;
use crate::server;
use crate::tasks::Scope;
use crate::upstream::{Fault, Parts};

/// The command line.
pub fn command() -> Command {
    Command::new("ask")
        .about("Ask a question of the language model, or of the index where there is none")
        .arg(
            Arg::new("question")
                .required(true)
                .value_name("QUESTION|-")
                .help("The question; - reads it from standard input"),
        )
}

/// Asks. Ctrl-C ends it as it ends any program: the connection is closed, and the model stops.
pub async fn run(config: &Config, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    super::log::to_stderr("error")?;
    let question = text(matches)?;
    let ledger = Ledger::new();
    let scope = Scope::new("upstreams", ledger);
    let (spawner, metrics, tls) = (scope.spawner(), Metrics::default(), Default::default());
    let parts = Parts { spawner, metrics, tls };
    let responder = match server::responder(config, &parts).await? {
        Some((responder, _)) => responder,
        None => found(config, &parts).await?,
    };
    let question = Question::new(question, History::default(), "ask", Departure::default())?;
    let code = print(responder.answer(question), config).await;
    scope.stop(std::time::Duration::ZERO).await;
    code
}

/// Who answers where no language model does: whatever stands in the index.
async fn found(config: &Config, parts: &Parts) -> anyhow::Result<Arc<dyn Responder>> {
    let settings = config.search.as_ref().context(
        "nobody answers here: say where a language model is with answer.llm.base_url and which it is with \
         answer.llm.model (--answer-llm-base-url http://localhost:11434/v1 --answer-llm-model NAME), or let the \
         index answer (--search-enabled)",
    )?;
    let (search, _) = server::search::start(config, settings, &parts.spawner, parts).await?;
    if let Health::Unavailable(why) = search.index().health() {
        bail!(
            "nobody answers here: {why}; or say where a language model is (--answer-llm-base-url \
             http://localhost:11434/v1 --answer-llm-model NAME)"
        );
    }
    Ok(Arc::new(Found::new(search)))
}

async fn print(mut answer: Pieces, config: &Config) -> anyhow::Result<ExitCode> {
    let mut out = Out { is_terminal: std::io::stdout().is_terminal(), last: '\n' };
    while let Some(piece) = answer.next().await {
        let heard = match piece {
            // They are named in the text as well.
            Ok(Piece::Sources(_)) => Ok(()),
            Ok(Piece::Text(text)) => out.write(&text),
            Ok(Piece::End(end)) => {
                note(&end.finish);
                out.end_line()
            }
            Err(error) => {
                // What was said so far stays; the error begins a line of its own.
                let _ = out.end_line();
                return Err(match hint(&error, config) {
                    Some(hint) => anyhow!("{error}; {hint}"),
                    None => error.into(),
                });
            }
        };
        match heard {
            Ok(()) => {}
            // Whoever read it has heard enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            Err(error) => return Err(error).context("the answer could not be written"),
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// A question that is too long is read no further than it takes to know that.
fn text(matches: &ArgMatches) -> anyhow::Result<String> {
    let text = matches.get_one::<String>("question").context("a question")?;
    if text != "-" {
        return Ok(text.clone());
    }
    let mut bytes = Vec::new();
    std::io::stdin().take(QUESTION_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > QUESTION_BYTES {
        return Err(AnswerError::QuestionTooLong(bytes.len()).into());
    }
    String::from_utf8(bytes).context("standard input is not UTF-8 text")
}

/// What the text does not say of its end.
fn note(finish: &Finish) {
    let what = match finish {
        Finish::Stop | Finish::Unsaid => return,
        Finish::Length => {
            "the answer was cut off at its longest (answer.llm.max_tokens)".to_string()
        }
        other => format!("the answer ended for the reason '{other}'"),
    };
    let _ = writeln!(std::io::stderr(), "evensong: {what}");
}

/// What to do about an error, where the settings can help.
fn hint(error: &AnswerError, config: &Config) -> Option<String> {
    let AnswerError::Upstream(error) = error else { return None };
    let base = &config.answer.llm.as_ref()?.upstream.base;
    Some(match &error.fault {
        Fault::Unreachable(_) | Fault::NotConnected(_) => {
            format!("is it running? answer.llm.base_url is {base}")
        }
        Fault::NoAnswer(_) | Fault::Stalled(_) => {
            "a model that is still loading, or thinks long, needs more of upstream.first_byte_seconds and \
             upstream.idle_seconds"
                .into()
        }
        Fault::Denied(_) => "that is answer.llm.api_key".into(),
        Fault::Refused { status: 404, .. } | Fault::Redirect(_) | Fault::WrongType { .. } => {
            format!(
                "answer.llm.base_url is {base}, which must be what stands before /chat/completions, and \
                 answer.llm.model one of its models"
            )
        }
        _ => return None,
    })
}

/// Standard output.
struct Out {
    is_terminal: bool,
    last: char,
}

impl Out {
    fn write(&mut self, text: &str) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        match self.is_terminal {
            true => out.write_all(harmless(text).as_bytes())?,
            false => out.write_all(text.as_bytes())?,
        }
        self.last = text.chars().last().unwrap_or(self.last);
        out.flush()
    }

    fn end_line(&mut self) -> std::io::Result<()> {
        if self.last == '\n' { Ok(()) } else { self.write("\n") }
    }
}

/// A model may say what moves the cursor, sets the title or worse.
fn harmless(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_not_commanded() {
        assert_eq!(harmless("a\u{1b}[2J\u{9b}31mb\r\n\tü\u{7}"), "a[2J31mb\n\tü");
    }
}
