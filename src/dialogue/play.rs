//! The task behind a dialogue: it plays turn after turn, and ends the dialogue when nobody is left for it. Invariants: an
//! answer is read as it comes, not at the pace of speech; of an interrupted turn nothing runs on; every wait sees the end.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_stream::StreamExt;

use super::frame::{Frame, Source};
use super::pace::Pace;
use super::turn::{Input, Step};
use super::{Asked, Dialogue, Why};
use crate::answer::{Piece, Pieces};
use crate::bounds::replay::{Lane, Standing};
use crate::bounds::ring::Closed;
use crate::limits::LISTENERS_LOOKED_AT;
use crate::metrics::{Cut, CutLabel};
use crate::speech::SpeechError;
use crate::speech::live::{Live, Part, ReplaySink, Sink};
use crate::speech::script::{Passage, Script};
use crate::tasks::Spawner;

/// Plays a dialogue's turns until it is over.
pub async fn run(dialogue: Arc<Dialogue>, spawner: Spawner) {
    loop {
        let next = dialogue.lock().next.take();
        let mut turn = pin!(play(&dialogue, next));
        let mut is_played = false;
        loop {
            tokio::select! {
                biased;
                () = dialogue.ended.cancelled() => return,
                () = spawner.stopping() => return leave(&dialogue),
                // The next question: whatever runs for this one is dropped with it.
                () = dialogue.asked.notified() => break,
                () = lonely(&dialogue) => return dialogue.end(Why::Expired),
                () = crowd(&dialogue) => {}
                () = &mut turn, if !is_played => is_played = true,
            }
        }
    }
}

/// The server leaves: those who listen are told.
fn leave(dialogue: &Arc<Dialogue>) {
    let mut state = dialogue.lock();
    let (epoch, now) = (state.epoch, state.now());
    let steps = state.turn.on(Input::Spoke(Err(SpeechError::Leaving)), now);
    for step in steps {
        if let Step::Show(frame) = step {
            dialogue.push(epoch, frame);
        }
    }
    drop(state);
    dialogue.end(Why::Leaving);
}

/// Ready when nobody has come, or come back, in time.
async fn lonely(dialogue: &Dialogue) {
    loop {
        let until = dialogue.lock().life.until();
        let expires = async {
            match until {
                Some(until) => sleep_until(until).await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = dialogue.moved.notified() => continue,
            () = expires => {}
        }
        if dialogue.lock().life.expire(Instant::now()) {
            return;
        }
    }
}

/// Looks after several listeners: who is too slow for the others is cut.
async fn crowd(dialogue: &Dialogue) {
    let mut pace = Pace::new(dialogue.lock().life.grace());
    let mut last = Instant::now();
    loop {
        tokio::time::sleep(LISTENERS_LOOKED_AT).await;
        let now = Instant::now();
        let standings = dialogue.replay.standings();
        for place in pace.tick(&standings, now - last) {
            let is_lost = |standing: &Standing| standing.place == place && standing.is_lost;
            if standings.iter().any(is_lost) {
                tracing::debug!(owner = %dialogue.owner, "one that was cut off did not come back");
            } else {
                tracing::warn!(owner = %dialogue.owner, "a listener was too slow for the others");
                let reason = Cut::SlowConsumer;
                dialogue.metric(|metrics| metrics.cuts.get_or_create(&CutLabel { reason }).inc());
            }
            dialogue.replay.cut(place);
        }
        last = now;
    }
}

/// One turn in the making.
struct Play<'a> {
    dialogue: &'a Arc<Dialogue>,
    epoch: u32,
    /// Until it speaks.
    live: Option<Live>,
    held: Arc<crate::bounds::Stake>,
    script: Option<mpsc::Sender<Passage>>,
    spoken: Option<oneshot::Receiver<Result<(), SpeechError>>>,
    ready: VecDeque<Passage>,
    no_more: bool,
    /// Written, and not yet told: a text, and the clause that it begins in.
    untold: Option<(String, u32)>,
}

async fn play(dialogue: &Arc<Dialogue>, asked: Option<Asked>) {
    let Some(Asked { epoch, question, live, stake }) = asked else { return pending().await };
    let Some(service) = dialogue.service.upgrade() else { return };
    let Some(responder) = service.means.responder.clone() else { return };
    drop(service);
    let mut pieces = Some(responder.answer(question));
    let mut play = Play {
        dialogue,
        epoch,
        live: Some(live),
        held: stake,
        script: None,
        spoken: None,
        ready: VecDeque::new(),
        no_more: false,
        untold: None,
    };
    while let Some(input) = play.next(&mut pieces).await {
        if !play.feed(input) {
            break;
        }
    }
}

impl Play<'_> {
    /// Waits for what happens next. None where nothing more of the turn is wanted.
    async fn next(&mut self, pieces: &mut Option<Pieces>) -> Option<Input> {
        loop {
            let wakes = {
                let state = self.dialogue.lock();
                state.turn.wakes().map(|wakes| state.began + wakes)
            };
            let tick = async {
                match wakes {
                    Some(wakes) => sleep_until(wakes).await,
                    None => pending().await,
                }
            };
            let replay = self.dialogue.replay.clone();
            let bytes = self.untold.as_ref().map_or(0, |(text, _)| text.len());
            tokio::select! {
                biased;
                // Text goes before the sound of it, and all of it before the end.
                room = replay.room(self.epoch, Lane::Text, bytes), if self.untold.is_some() => {
                    room.ok()?;
                    self.tell();
                }
                spoken = ended(&mut self.spoken), if self.untold.is_none() => {
                    self.spoken = None;
                    // Nobody wanted it any more.
                    return Some(Input::Spoke(spoken?));
                }
                said = say(&mut self.script, &mut self.ready) => {
                    if said.is_none() {
                        self.ready.clear();
                        self.script = None;
                    }
                }
                piece = written(pieces) => {
                    let input = match piece {
                        Some(Ok(Piece::Text(text))) => return Some(Input::Written(text)),
                        Some(Ok(Piece::Sources(hits))) => {
                            return Some(Input::Sources(hits.iter().map(Source::from).collect()));
                        }
                        Some(Ok(Piece::End(end))) => Input::Answered(end),
                        Some(Err(error)) => Input::Broke(error.into()),
                        None => Input::Broke(super::frame::TurnError::Empty),
                    };
                    *pieces = None;
                    return Some(input);
                }
                () = tick => return Some(Input::Tick),
            }
            if self.no_more && self.ready.is_empty() {
                self.script = None;
            }
        }
    }

    /// Tells the turn what happened, and does what it says. False when it is over.
    fn feed(&mut self, input: Input) -> bool {
        let steps = {
            let mut state = self.dialogue.lock();
            if state.epoch != self.epoch {
                return false;
            }
            let now = state.now();
            let mut steps = Vec::new();
            // What is shown is shown under the lock, so that nothing comes behind an interruption.
            for step in state.turn.on(input, now) {
                match step {
                    Step::Show(frame) => {
                        if frame.is_last() {
                            self.tell();
                        }
                        self.dialogue.push(self.epoch, frame);
                    }
                    step => steps.push(step),
                }
            }
            steps
        };
        for step in steps {
            match step {
                Step::Show(_) => {}
                Step::Write(text, clause) => match &mut self.untold {
                    Some((untold, _)) => *untold += &text,
                    none => *none = Some((text, clause)),
                },
                Step::Say(passage) => {
                    self.begin_to_speak();
                    self.ready.push_back(passage);
                }
                Step::NoMore => self.no_more = true,
                Step::Over => return false,
            }
        }
        if self.no_more && self.ready.is_empty() {
            self.script = None;
        }
        true
    }

    fn tell(&mut self) {
        if let Some((text, clause)) = self.untold.take() {
            self.dialogue.push(self.epoch, Frame::Text { text, clause });
        }
    }

    fn begin_to_speak(&mut self) {
        let Some(live) = self.live.take() else { return };
        let (script, passages) = mpsc::channel(1);
        let replay = self.dialogue.replay.clone();
        let inner = ReplaySink { replay, epoch: self.epoch, wrap: Frame::audio };
        let ear = Ear { inner, dialogue: Arc::clone(self.dialogue) };
        let held = Arc::clone(&self.held);
        self.spoken = Some(live.start(Script::Live(passages), ear, &self.dialogue.departure, held));
        self.script = Some(script);
    }
}

/// Hands on the next clause. None when nobody speaks any more; never ready where nothing waits.
async fn say(
    script: &mut Option<mpsc::Sender<Passage>>,
    ready: &mut VecDeque<Passage>,
) -> Option<()> {
    let Some(script) = script.as_ref().filter(|_| !ready.is_empty()) else {
        return pending().await;
    };
    let place = script.reserve().await.ok()?;
    place.send(ready.pop_front()?);
    Some(())
}

async fn written(pieces: &mut Option<Pieces>) -> Option<Result<Piece, crate::answer::AnswerError>> {
    match pieces {
        Some(pieces) => pieces.next().await,
        None => pending().await,
    }
}

async fn ended(
    spoken: &mut Option<oneshot::Receiver<Result<(), SpeechError>>>,
) -> Option<Result<(), SpeechError>> {
    match spoken {
        Some(spoken) => spoken.await.ok(),
        None => pending().await,
    }
}

/// Where the sound of a turn goes: to its listeners, and the times of its words to the turn.
struct Ear {
    inner: ReplaySink<Arc<Frame>>,
    dialogue: Arc<Dialogue>,
}

impl Sink for Ear {
    fn poll_room(&self, bytes: usize, cx: &Context<'_>) -> Poll<Result<(), Closed>> {
        self.inner.poll_room(bytes, cx)
    }

    fn room_now(&self) -> usize {
        self.inner.room_now()
    }

    fn poll_lag_below(&self, bytes: u64, cx: &Context<'_>) -> Poll<Result<(), Closed>> {
        self.inner.poll_lag_below(bytes, cx)
    }

    fn poll_closed(&self, cx: &Context<'_>) -> Poll<()> {
        self.inner.poll_closed(cx)
    }

    fn progress(&self) -> Option<(u64, u64)> {
        self.inner.progress()
    }

    fn write(&self, part: Part) -> Result<(), Closed> {
        {
            let mut state = self.dialogue.lock();
            if state.epoch == self.inner.epoch {
                let now = state.now();
                if state.preamble.is_none() {
                    state.preamble = Some(self.dialogue.format.preamble(&part.audio));
                    let took = now.as_secs_f64();
                    self.dialogue.metric(|metrics| {
                        metrics.dialogue_first_audio.observe(Duration::from_secs_f64(took))
                    });
                }
                state.turn.gave(&part.words, part.ends_ms, now);
            }
        }
        let given = self.inner.write(part);
        if given.is_err() {
            self.dialogue.metric(|metrics| metrics.dialogue_late.inc());
        }
        given
    }
}
