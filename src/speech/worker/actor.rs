//! One worker process and the task that owns it. Invariants: the process is started, recycled and
//! ended here and nowhere else; between two jobs it is silent, so no frame of one job can reach
//! another; a process that does not do as it is told is killed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::SinkExt;
use tokio::process::{ChildStdin, ChildStdout, Command};
use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

use super::queue::Waiting;
use super::wire::{FromWorker, JobMessage, ToWorker};
use super::{Shared, WorkerConfig};
use crate::ledger::{Kind, Owned};
use crate::limits;
use crate::speech::{Job, Said};
use crate::tasks::{Child, Spawner};

/// See the module.
pub struct Actor {
    shared: Arc<Shared>,
    spawner: Spawner,
    owner: Arc<str>,
}

/// A process that has said hello.
struct Process {
    child: Child,
    commands: FramedWrite<Owned<ChildStdin>, LengthDelimitedCodec>,
    frames: FramedRead<Owned<ChildStdout>, LengthDelimitedCodec>,
    started: Instant,
    epoch: u32,
}

/// Why a process is not used further.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("it died: {0}")]
    Died(String),
    #[error("it did not answer or did not stop in time")]
    Hung,
}

/// How the watch over a process ended.
enum Over {
    /// The server is leaving.
    Leaving,
    /// It has served long enough.
    Recycle,
    /// It is of no more use.
    Lost,
}

impl Actor {
    /// An actor that has not started its process yet.
    pub fn new(shared: Arc<Shared>, spawner: Spawner, owner: &str) -> Self {
        Self { shared, spawner, owner: owner.into() }
    }

    /// Keeps a process running until the scope stops.
    pub async fn run(self) {
        let (first, longest) = limits::WORKER_BACKOFF;
        let mut pause = first;
        while !self.spawner.is_stopping() {
            match self.start().await {
                Ok(process) => {
                    pause = first;
                    let id = process.child.id();
                    let over = self.serve(process).await;
                    self.shared.ended(id);
                    match over {
                        Over::Leaving => return,
                        Over::Recycle => continue,
                        Over::Lost => {}
                    }
                }
                Err(reason) => self.shared.unavailable(reason),
            }
            tokio::select! {
                biased;
                () = self.spawner.stopping() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(longest),
            }
        }
    }

    async fn start(&self) -> Result<Process, String> {
        let WorkerConfig { program, engine, library, .. } = &self.shared.config;
        let mut command = Command::new(program);
        // Nothing of the server's environment concerns a worker, and secrets least of all.
        command.args(["engine", engine]).args(library).env_clear();
        let keep = |(key, _): &(std::ffi::OsString, _)| {
            ["PATH", "HOME", "LD_LIBRARY_PATH", "ESPEAK_DATA_PATH"].iter().any(|name| key == name)
        };
        command.envs(std::env::vars_os().filter(keep));
        let ledger = self.spawner.ledger();
        let mut child = Child::start(command, ledger, Kind::Worker, Arc::clone(&self.owner))
            .map_err(|error| format!("{} could not be started: {error}", program.display()))?;
        self.shared.metrics.worker_starts.inc();
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            return Err("a worker has no pipes".into());
        };
        let codec = || {
            LengthDelimitedCodec::builder()
                .max_frame_length(limits::WORKER_MESSAGE_BYTES)
                .new_codec()
        };
        let mut process = Process {
            child,
            commands: FramedWrite::new(input, codec()),
            frames: FramedRead::new(output, codec()),
            started: Instant::now(),
            epoch: 0,
        };
        match timeout(limits::WORKER_START_DEADLINE, process.hello()).await {
            Ok(Ok((hz, voices))) => {
                self.shared.introduce(process.child.id(), hz, voices);
                Ok(process)
            }
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err("a worker did not say hello in time".into()),
        }
    }

    async fn serve(&self, mut process: Process) -> Over {
        let config = &self.shared.config;
        let over = loop {
            if process.epoch >= config.jobs_most || process.started.elapsed() >= config.age_most {
                break Over::Recycle;
            }
            let age_left = config.age_most.saturating_sub(process.started.elapsed());
            let waiting = tokio::select! {
                biased;
                () = self.spawner.stopping() => break Over::Leaving,
                // Before the queue: a job must not go to a process that is known to be dead.
                _ = process.child.wait() => {
                    tracing::warn!(worker = %self.owner, "an idle worker ended");
                    break Over::Lost;
                }
                waiting = self.shared.queue.take() => waiting,
                () = tokio::time::sleep(age_left) => continue,
            };
            let began = Instant::now();
            let message = process.job(&waiting.job);
            if let Err(error) = process.send(&message).await {
                // Dead before it began: the job is another's, and no try of it.
                tracing::warn!(worker = %self.owner, %error, "an idle worker ended");
                self.shared.queue.put(waiting);
                break Over::Lost;
            }
            if let Err(lost) = process.speak(waiting).await {
                self.shared.metrics.worker_crashes.inc();
                tracing::warn!(worker = %self.owner, %lost, "a worker was lost in a job");
                break Over::Lost;
            }
            self.shared.queue.job_took(began.elapsed());
        };
        let patience = if matches!(over, Over::Lost) {
            Duration::ZERO
        } else {
            limits::WORKER_CANCEL_DEADLINE
        };
        let Process { child, commands, .. } = process;
        drop(commands); // the end of its input is what asks it to leave
        child.end(patience).await;
        over
    }
}

impl Process {
    async fn hello(&mut self) -> Result<(u32, crate::speech::voices::Voices), String> {
        let frame = self.frame().await.map_err(|lost| format!("a worker was lost: {lost}"))?;
        match decode(&frame) {
            Ok(FromWorker::Hello { hz, voices }) => Ok((hz, voices)),
            Ok(FromWorker::Unavailable { reason }) => Err(reason),
            other => Err(format!("a worker said {other:?} for hello")),
        }
    }

    /// The message for the next job.
    fn job(&mut self, job: &Job) -> ToWorker {
        self.epoch += 1;
        ToWorker::Speak(JobMessage {
            epoch: self.epoch,
            text: job.text.clone(),
            voice: job.voice.clone(),
            speed: job.speed,
            seed: job.seed,
            most_samples: job.most_samples,
            skip_samples: job.skip_samples,
            cut_words: job.cut_words,
        })
    }

    /// Hears out a job that was sent. Its sender is dropped without an end when the worker is lost.
    async fn speak(&mut self, waiting: Waiting) -> Result<(), Lost> {
        let Waiting { said, entry: _entry, .. } = waiting;
        loop {
            let frame = tokio::select! {
                biased;
                () = said.closed() => return self.cancel().await,
                frame = timeout(limits::WORKER_SILENCE_MOST, self.frame()) => {
                    frame.map_err(|_| Lost::Hung)??
                }
            };
            match decode(&frame)? {
                FromWorker::Audio { epoch, spoken, pcm } if epoch == self.epoch => {
                    let pcm = frame.slice_ref(pcm);
                    if said.send(Said::Audio { pcm, spoken }).await.is_err() {
                        return self.cancel().await;
                    }
                }
                FromWorker::End { epoch, ended } if epoch == self.epoch => {
                    // An asker that left just now does not need the end.
                    let _ = said.send(Said::End(ended)).await;
                    return Ok(());
                }
                other => return Err(Lost::Died(format!("it said {other:?}"))),
            }
        }
    }

    /// Tells the worker to stop, and throws away what it says until it has.
    async fn cancel(&mut self) -> Result<(), Lost> {
        let epoch = self.epoch;
        self.send(&ToWorker::Cancel { epoch }).await?;
        let ended = async {
            loop {
                let frame = self.frame().await?;
                if let FromWorker::End { epoch: ended, .. } = decode(&frame)?
                    && ended == epoch
                {
                    return Ok(());
                }
            }
        };
        timeout(limits::WORKER_CANCEL_DEADLINE, ended).await.map_err(|_| Lost::Hung)?
    }

    async fn send(&mut self, message: &ToWorker) -> Result<(), Lost> {
        let body = postcard::to_stdvec(message).map_err(|error| Lost::Died(error.to_string()))?;
        self.commands.send(Bytes::from(body)).await.map_err(|error| Lost::Died(error.to_string()))
    }

    async fn frame(&mut self) -> Result<Bytes, Lost> {
        match self.frames.next().await {
            Some(Ok(frame)) => Ok(frame.freeze()),
            Some(Err(error)) => Err(Lost::Died(error.to_string())),
            None => Err(Lost::Died("it closed its output".into())),
        }
    }
}

fn decode(frame: &[u8]) -> Result<FromWorker<'_>, Lost> {
    postcard::from_bytes(frame).map_err(|error| Lost::Died(format!("no message: {error}")))
}
