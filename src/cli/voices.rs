//! `evensong voices list`: one line a voice.

use std::io::Write;
use std::process::ExitCode;

use crate::config::Config;
use crate::limits;

/// Lists the voices of every engine.
pub async fn run(config: &Config) -> anyhow::Result<ExitCode> {
    super::log::to_stderr("error")?;
    let core = super::ready_core(config).await?;
    let mut text = String::new();
    for engine in core.speech.engines() {
        while !engine.knows_its_voices() {
            tokio::time::sleep(limits::ENGINE_POLL).await;
        }
        let voices = engine.voices();
        for voice in &voices.all {
            let gender = voice.gender.as_deref().unwrap_or("");
            text +=
                &format!("{:<20} {:<36} {:<8} {}\n", voice.id, voice.name, gender, engine.name());
        }
        if !voices.variants.is_empty() {
            text += &format!("\nAny of them as ID+VARIANT: {}\n", voices.variants.join(" "));
        }
    }
    core.stop().await;
    // A reader that has seen enough (`| head`) is no error.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(ExitCode::SUCCESS)
}
