//! The worker's side of a worker process: `evensong engine NAME`. Invariants: it speaks one job at a
//! time, ends when its standard input does, and caps its own memory before the engine's library is
//! loaded; file descriptor 1 is moved away first, so that a library that prints cannot break the
//! frames.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::Ended;
use super::espeak::Espeak;
use super::piece::{Outlet, Piece, Want};
use super::tone::Tone;
use super::voices::Voices;
use super::worker::wire::{FromWorker, JobMessage, ToWorker};
use crate::limits;
use crate::tasks;

/// An engine as it runs inside a worker.
pub trait Synthesizer {
    /// Its sample rate.
    fn hz(&self) -> u32;
    /// Its voices.
    fn voices(&self) -> &Voices;
    /// Speaks `text` into `sink` until the sink says stop, and gives the sink back.
    fn speak(&mut self, text: &str, voice: &str, speed: f32, sink: Sink) -> Result<Sink, String>;
}

/// Why an engine cannot be had.
pub struct Unavailable {
    /// Including what would help.
    pub reason: String,
}

/// Where a synthesizer puts its audio.
pub type Sink = Piece<Frames>;

/// Engines that run as worker processes, by their names on the command line.
pub const NAMES: [&str; 2] = ["espeak", "tone"];

/// Runs the worker `name` until its standard input ends; `library` overrides where its engine is
/// looked for.
pub fn run(name: &str, library: Option<&Path>) -> std::io::Result<()> {
    tasks::leave_signals_to_the_server();
    let out = Out(Arc::new(take_stdout()?));
    limit_self();
    let cancelled = Arc::new(AtomicU32::new(0));
    // One job at a time: the server sends the next one after this one's end.
    let (jobs_in, jobs) = sync_channel(1);
    let seen = Arc::clone(&cancelled);
    tasks::process_thread("commands", move || read_commands(&jobs_in, &seen))?;
    let engine: Result<Box<dyn Synthesizer>, Unavailable> = match name {
        "tone" => Ok(Box::new(Tone::new())),
        _ => Espeak::load(library).map(|espeak| Box::new(espeak) as Box<dyn Synthesizer>),
    };
    match engine {
        Ok(engine) => speak_jobs(engine, &jobs, &out, &cancelled),
        Err(Unavailable { reason }) => out.send(&FromWorker::Unavailable { reason }),
    }
}

fn speak_jobs(
    mut engine: Box<dyn Synthesizer>,
    jobs: &Receiver<JobMessage>,
    out: &Out,
    cancelled: &Arc<AtomicU32>,
) -> std::io::Result<()> {
    out.send(&FromWorker::Hello { hz: engine.hz(), voices: engine.voices().clone() })?;
    while let Ok(job) = jobs.recv() {
        let ended = speak(engine.as_mut(), &job, out, cancelled);
        out.send(&FromWorker::End { epoch: job.epoch, ended })?;
    }
    Ok(())
}

/// Speaks one job.
fn speak(
    engine: &mut dyn Synthesizer,
    job: &JobMessage,
    out: &Out,
    cancelled: &Arc<AtomicU32>,
) -> Ended {
    let frames = Frames { out: out.clone(), epoch: job.epoch, cancelled: Arc::clone(cancelled) };
    let (most, skip) = (job.most_samples as usize, job.skip_samples as usize);
    let sink = Piece::new(frames, Want { most, skip, cut_words: job.cut_words });
    match engine.speak(&job.text, &job.voice, job.speed, sink) {
        Ok(sink) => sink.end(job.text.len() as u32),
        Err(reason) => Ended::Failed(reason),
    }
}

/// Sends frames of a job, unless it was cancelled.
pub struct Frames {
    out: Out,
    epoch: u32,
    cancelled: Arc<AtomicU32>,
}

impl Outlet for Frames {
    fn send(&mut self, samples: &[i16], spoken: Option<u32>) -> bool {
        let mut chunks = samples.chunks(limits::WORKER_FRAME_BYTES / 2).peekable();
        let mut pcm = Vec::new();
        while let Some(chunk) = chunks.next() {
            if self.cancelled.load(Ordering::Acquire) >= self.epoch {
                return false;
            }
            pcm.clear();
            pcm.extend(chunk.iter().flat_map(|sample| sample.to_le_bytes()));
            // Only the last frame of a word completes it.
            let spoken = spoken.filter(|_| chunks.peek().is_none());
            let frame = FromWorker::Audio { epoch: self.epoch, spoken, pcm: &pcm };
            if self.out.send(&frame).is_err() {
                return false;
            }
        }
        true
    }
}

/// The pipe to the server.
#[derive(Clone)]
struct Out(Arc<File>);

impl Out {
    fn send(&self, message: &FromWorker<'_>) -> std::io::Result<()> {
        let body = postcard::to_stdvec(message).map_err(std::io::Error::other)?;
        let mut frame = Vec::with_capacity(body.len() + 4);
        frame.extend_from_slice(&(body.len() as u32).to_be_bytes());
        frame.extend_from_slice(&body);
        (&*self.0).write_all(&frame)
    }
}

/// Reads commands until the input ends, then ends the process: a worker never outlives its server.
fn read_commands(jobs: &SyncSender<JobMessage>, cancelled: &AtomicU32) {
    let mut input = std::io::stdin().lock();
    while let Ok(Some(command)) = read_command(&mut input) {
        match command {
            ToWorker::Speak(job) => {
                if jobs.send(job).is_err() {
                    break;
                }
            }
            ToWorker::Cancel { epoch } => cancelled.store(epoch, Ordering::Release),
        }
    }
    leave();
}

#[expect(clippy::disallowed_methods, reason = "the process is this worker and nothing else")]
fn leave() -> ! {
    std::process::exit(0)
}

fn read_command(input: &mut impl Read) -> std::io::Result<Option<ToWorker>> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length > limits::WORKER_MESSAGE_BYTES {
        return Ok(None);
    }
    let mut body = vec![0; length];
    input.read_exact(&mut body)?;
    Ok(postcard::from_bytes(&body).ok())
}

/// Our output on a descriptor of its own; what a library prints goes to standard error.
fn take_stdout() -> std::io::Result<File> {
    let out = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?;
    rustix::stdio::dup2_stdout(rustix::stdio::stderr())?;
    Ok(File::from(out))
}

/// A cap on the memory that a broken text could make the library take, and good manners.
fn limit_self() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let hard = getrlimit(Resource::Data).maximum;
    let cap = hard.map_or(limits::WORKER_DATA_BYTES, |hard| hard.min(limits::WORKER_DATA_BYTES));
    let limit = Rlimit { current: Some(cap), maximum: hard };
    if let Err(error) = setrlimit(Resource::Data, limit) {
        let _ = writeln!(
            std::io::stderr(),
            "evensong engine: the memory cap could not be set: {error}"
        );
    }
    if let Err(error) = rustix::process::nice(limits::WORKER_NICE) {
        let _ = writeln!(
            std::io::stderr(),
            "evensong engine: the priority could not be lowered: {error}"
        );
    }
}
