//! One turn as a pure state machine: no socket, no clock of its own. What comes in is what was written and spoken, what goes
//! out is what is to be shown, said and stopped. Invariants: exactly one last frame; `Done` only where the answer
//! ended well and all of it was spoken; behind the last frame nothing.

use std::time::Duration;

use super::frame::{Done, Frame, Indicator, Message, Source, Timings, TurnError, messages};
use super::heard::Heard;
use super::split::Splitter;
use crate::answer::{AnswerError, End, History, Turn as Said};
use crate::limits::{SPOKEN_BYTES, THINKING_EVERY};
use crate::speech::SpeechError;
use crate::speech::script::Passage;
use crate::speech::words::Word;

/// What happens to a turn.
#[derive(Debug)]
pub enum Input {
    /// So much more was written.
    Written(String),
    /// What it is from.
    Sources(Vec<Source>),
    /// The answer is whole.
    Answered(End),
    /// There will be no more of it.
    Broke(TurnError),
    /// The speech ended.
    Spoke(Result<(), SpeechError>),
    /// Time has passed.
    Tick,
}

/// What is to be done.
#[derive(Debug)]
pub enum Step {
    /// To be told to the listeners.
    Show(Frame),
    /// To be told as text of this clause, together with what else was written.
    Write(String, u32),
    /// To be spoken.
    Say(Passage),
    /// Nothing more is to be said.
    NoMore,
    /// The turn is over: all that works for it stops.
    Over,
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All was said.
    Done,
    /// The asker did not want more.
    Interrupted,
    /// It broke off.
    Failed,
}

#[derive(Debug)]
enum Stage {
    /// Nothing was written yet.
    Thinking,
    /// It is being written.
    Answering,
    /// It is written, and being spoken.
    Written(End),
    /// It broke off, and what was said of it is being spoken.
    Broken(TurnError),
    Over(Outcome),
}

/// See the module. Times are since the question.
pub struct Turn {
    epoch: u32,
    thinking: Option<Indicator>,
    asked: String,
    before: History,
    stage: Stage,
    splitter: Splitter,
    written: String,
    is_silent: bool,
    /// Whether something was given to be spoken, and how much.
    speaks: bool,
    said_bytes: usize,
    heard: Heard,
    thinks_again: Duration,
    timings: Timings,
}

impl Turn {
    /// Somebody asked, after what was said `before`, to be answered in `language`.
    pub fn new(
        epoch: u32,
        thinking: Option<Indicator>,
        asked: String,
        before: History,
        language: &str,
    ) -> Self {
        Self {
            epoch,
            thinking,
            asked,
            before,
            stage: Stage::Thinking,
            splitter: Splitter::new(language),
            written: String::new(),
            is_silent: false,
            speaks: false,
            said_bytes: 0,
            heard: Heard::default(),
            thinks_again: THINKING_EVERY,
            timings: Timings::default(),
        }
    }

    /// The same, of which nothing is spoken, or it is.
    pub fn silent(mut self, is_silent: bool) -> Self {
        self.is_silent = is_silent;
        self
    }

    /// Takes what happened `now`.
    pub fn on(&mut self, input: Input, now: Duration) -> Vec<Step> {
        if matches!(self.stage, Stage::Over(_)) {
            return Vec::new();
        }
        match input {
            Input::Written(text) if self.is_open() => self.wrote(text, now),
            Input::Sources(sources) if self.is_open() => vec![Step::Show(Frame::Sources(sources))],
            Input::Answered(end) if self.is_open() => self.answered(end, now),
            Input::Broke(error) if self.is_open() => self.broke(error),
            Input::Spoke(Ok(())) => self.spoke(now),
            Input::Spoke(Err(error)) => self.fail(error.into()),
            Input::Tick if matches!(self.stage, Stage::Thinking) && now >= self.thinks_again => {
                self.thinks_again = now + THINKING_EVERY;
                self.thinking.map(Frame::Thinking).map(Step::Show).into_iter().collect()
            }
            _ => Vec::new(),
        }
    }

    /// Words were given to the listeners, in sound that ends `audio_ms` after its beginning.
    pub fn gave(&mut self, words: &[Word], audio_ms: u64, now: Duration) {
        if self.timings.audio_ms == 0 {
            self.timings.first_audio_ms = milliseconds(now);
        }
        self.timings.audio_ms = self.timings.audio_ms.max(audio_ms);
        words.iter().for_each(|word| self.heard.add(word));
    }

    /// Ends it because its asker wants no more, who heard so much. None where it was over.
    pub fn interrupt(&mut self, played_ms: u32) -> Option<Frame> {
        if matches!(self.stage, Stage::Over(_)) {
            return None;
        }
        self.stage = Stage::Over(Outcome::Interrupted);
        let heard_text = self.heard.after(played_ms).to_string();
        let history = messages(&self.history(&heard_text));
        Some(Frame::Interrupted { epoch: self.epoch, heard_text, history })
    }

    /// Its number.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// What was said before it turns out to be this.
    pub fn remember(&mut self, before: &History) {
        self.before = before.clone();
    }

    /// When it wants to be told the time, if it does.
    pub fn wakes(&self) -> Option<Duration> {
        let thinks = matches!(self.stage, Stage::Thinking) && self.thinking.is_some();
        thinks.then_some(self.thinks_again)
    }

    /// How it ended, if it did.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.stage {
            Stage::Over(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// How long the sound is that there is of it.
    pub fn audio_ms(&self) -> u64 {
        self.timings.audio_ms
    }

    /// When its first sound was there; 0 while there is none.
    pub fn first_audio_ms(&self) -> u64 {
        self.timings.first_audio_ms
    }

    /// What was heard of it after so many milliseconds were played.
    pub fn heard(&self, played_ms: u32) -> &str {
        self.heard.after(played_ms)
    }

    /// All that was said, with so much of this answer.
    pub fn history(&self, answered: &str) -> History {
        let mut history = self.before.clone();
        history.push(Said { asked: self.asked.clone(), answered: answered.to_string() });
        history
    }

    /// All that was said, with what was written of this answer.
    pub fn whole_history(&self) -> History {
        self.history(self.written.trim())
    }

    /// All that was said, with what was heard of this answer when so much was played: as it was written, where that is all.
    pub fn history_of(&self, played_ms: u32) -> History {
        let is_whole = self.outcome() == Some(Outcome::Done);
        match is_whole && u64::from(played_ms) >= self.audio_ms() {
            true => self.whole_history(),
            false => self.history(self.heard(played_ms)),
        }
    }

    /// Whether it is over, and did not fail.
    pub fn was_said(&self) -> bool {
        matches!(self.outcome(), Some(Outcome::Done | Outcome::Interrupted))
    }

    fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Thinking | Stage::Answering)
    }

    fn wrote(&mut self, text: String, now: Duration) -> Vec<Step> {
        if text.is_empty() {
            return Vec::new();
        }
        if matches!(self.stage, Stage::Thinking) {
            self.stage = Stage::Answering;
            self.timings.first_text_ms = milliseconds(now);
        }
        self.written += &text;
        let clause = self.splitter.number();
        let passages = self.splitter.push(&text);
        let mut steps = vec![Step::Write(text, clause)];
        self.say(passages, &mut steps);
        if self.said_bytes > SPOKEN_BYTES {
            steps.extend(self.broke(AnswerError::TooLong("speech").into()));
        }
        steps
    }

    fn answered(&mut self, end: End, now: Duration) -> Vec<Step> {
        let passages = self.splitter.finish();
        let mut steps = Vec::new();
        self.say(passages, &mut steps);
        if self.written.trim().is_empty() {
            return self.fail(TurnError::Empty);
        }
        self.stage = Stage::Written(end);
        steps.push(Step::NoMore);
        if !self.speaks {
            steps.extend(self.spoke(now));
        }
        steps
    }

    /// What was said stays said: it is spoken to its end, and then it is told that it broke off.
    fn broke(&mut self, error: TurnError) -> Vec<Step> {
        if !self.speaks {
            return self.fail(error);
        }
        self.stage = Stage::Broken(error);
        vec![Step::NoMore]
    }

    fn spoke(&mut self, now: Duration) -> Vec<Step> {
        match std::mem::replace(&mut self.stage, Stage::Over(Outcome::Done)) {
            Stage::Written(end) => {
                self.timings.total_ms = milliseconds(now);
                let history: Vec<Message> = messages(&self.whole_history());
                let (finish, usage, timings) = (end.finish.to_string(), end.usage, self.timings);
                let done = Done { finish, usage, timings, history };
                vec![Step::Show(Frame::Done(Box::new(done))), Step::Over]
            }
            Stage::Broken(error) => self.fail(error),
            // Speech that ends before its script cannot have ended well.
            _ => self.fail(SpeechError::Failed("it ended too early".into()).into()),
        }
    }

    fn fail(&mut self, error: TurnError) -> Vec<Step> {
        self.stage = Stage::Over(Outcome::Failed);
        vec![Step::Show(Frame::Failed(error)), Step::Over]
    }

    fn say(&mut self, passages: Vec<Passage>, steps: &mut Vec<Step>) {
        if self.is_silent {
            return;
        }
        self.speaks |= !passages.is_empty();
        self.said_bytes += passages.iter().map(|passage| passage.text.len()).sum::<usize>();
        steps.extend(passages.into_iter().map(Step::Say));
    }
}

fn milliseconds(time: Duration) -> u64 {
    // 0 says that it never was.
    (time.as_millis() as u64).max(1)
}

#[cfg(test)]
mod tests;
