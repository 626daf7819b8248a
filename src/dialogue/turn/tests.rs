//! The turn: step by step, and whatever happens in whatever order.

use super::*;
use crate::answer::{AnswerError, Finish};
use proptest::prelude::*;

fn end() -> End {
    End { finish: Finish::Stop, usage: None }
}

fn turn() -> Turn {
    Turn::new(1, Some(Indicator::Sound), "Why?".into(), History::default(), "en")
}

const NOW: Duration = Duration::from_millis(7);

fn word(text: &str, start_ms: u32, end_ms: u32) -> Word {
    Word { word: text.into(), start_ms, end_ms, proportional: false }
}

/// What was done, as words.
fn told(steps: &[Step]) -> Vec<String> {
    steps
        .iter()
        .map(|step| match step {
            Step::Show(Frame::Thinking(_)) => "thinking".into(),
            Step::Show(Frame::Sources(_)) => "sources".into(),
            Step::Show(Frame::Done(done)) => format!("done {}", done.finish),
            Step::Show(Frame::Failed(error)) => format!("failed: {error}"),
            Step::Show(frame) => format!("{frame:?}"),
            Step::Write(text, clause) => format!("write {clause} {text}"),
            Step::Say(passage) => format!("say {} {}", passage.number, passage.text),
            Step::NoMore => "no more".into(),
            Step::Over => "over".into(),
        })
        .collect()
}

#[test]
fn a_clause_is_said_as_soon_as_it_is_whole_and_the_end_waits_for_its_sound() {
    let mut turn = turn();
    let steps = turn.on(Input::Written("First it was night. Th".into()), NOW);
    assert_eq!(told(&steps), ["write 0 First it was night. Th", "say 0 First it was night."]);
    assert_eq!(told(&turn.on(Input::Written("en day.".into()), NOW)), ["write 1 en day."]);
    assert_eq!(told(&turn.on(Input::Answered(end()), NOW)), ["say 1 Then day.", "no more"]);
    assert_eq!(turn.outcome(), None, "it is not spoken yet");
    turn.gave(&[word("First", 0, 300)], 300, NOW);
    assert_eq!(told(&turn.on(Input::Spoke(Ok(())), NOW)), ["done stop", "over"]);
    assert_eq!(turn.outcome(), Some(Outcome::Done));
    let history: Vec<_> = messages(&turn.whole_history()).into_iter().map(|m| m.text).collect();
    assert_eq!(history, ["Why?", "First it was night. Then day."]);
    assert!(turn.on(Input::Tick, NOW).is_empty() && turn.interrupt(0).is_none());
}

#[test]
fn what_breaks_off_is_spoken_as_far_as_it_came_and_never_done() {
    let broke = || Input::Broke(AnswerError::TooLong("llm").into());
    let mut mid = turn();
    mid.on(Input::Written("All of this. And half".into()), NOW);
    assert_eq!(told(&mid.on(broke(), NOW)), ["no more"]);
    let steps = told(&mid.on(Input::Spoke(Ok(())), NOW));
    assert!(steps[0].starts_with("failed: llm: the answer is longer") && steps[1] == "over");
    let mut early = turn();
    assert_eq!(told(&early.on(broke(), NOW)).len(), 2, "nothing was said");
    for input in [Input::Answered(end()), Input::Spoke(Err(SpeechError::Failed("x".into())))] {
        let mut turn = turn();
        assert!(told(&turn.on(input, NOW))[0].starts_with("failed: "));
    }
}

#[test]
fn what_has_nothing_to_be_spoken_is_done_without_a_sound() {
    let mut turn = turn();
    turn.on(Input::Written("👍".into()), NOW);
    assert_eq!(told(&turn.on(Input::Answered(end()), NOW)), ["no more", "done stop", "over"]);
}

#[test]
fn it_is_said_again_that_it_is_thought_about_until_there_is_a_word() {
    let mut turn = turn();
    assert_eq!(turn.wakes(), Some(THINKING_EVERY));
    assert!(turn.on(Input::Tick, THINKING_EVERY - NOW).is_empty());
    assert_eq!(told(&turn.on(Input::Tick, THINKING_EVERY)), ["thinking"]);
    assert_eq!(turn.wakes(), Some(2 * THINKING_EVERY));
    turn.on(Input::Written("W".into()), NOW);
    assert_eq!(turn.wakes(), None);
    assert!(turn.on(Input::Tick, 9 * THINKING_EVERY).is_empty());
}

#[test]
fn of_a_whole_answer_that_was_not_played_to_its_end_only_what_was_heard_is_remembered() {
    let mut turn = turn();
    turn.on(Input::Written("*Day* breaks. Then night.".into()), NOW);
    turn.on(Input::Answered(end()), NOW);
    for (text, ms) in [("Day", 0), ("breaks.", 500), ("Then", 1000), ("night.", 1500)] {
        turn.gave(&[word(text, ms, ms + 400)], u64::from(ms) + 500, NOW);
    }
    turn.on(Input::Spoke(Ok(())), NOW);
    assert!(turn.was_said());
    let remembered = |played_ms| {
        messages(&turn.history_of(played_ms)).pop().map(|message| message.text).unwrap_or_default()
    };
    assert_eq!(
        (remembered(1300), remembered(2000)),
        ("Day breaks. Then".into(), "*Day* breaks. Then night.".to_string())
    );
}

#[test]
fn an_interrupted_turn_remembers_what_was_heard() {
    let mut turn = turn();
    turn.on(Input::Written("One two three.".into()), NOW);
    turn.gave(&[word("One", 0, 100), word("two", 100, 200), word("three.", 200, 300)], 300, NOW);
    let Some(Frame::Interrupted { epoch: 1, heard_text, history }) = turn.interrupt(160) else {
        panic!("it runs")
    };
    assert_eq!(heard_text, "One two");
    assert_eq!(history.last().map(|m| (m.role, &*m.text)), Some(("assistant", "One two")));
    assert!(turn.on(Input::Spoke(Ok(())), NOW).is_empty());
    assert_eq!(turn.outcome(), Some(Outcome::Interrupted));
}

fn input() -> impl Strategy<Value = Option<u8>> {
    prop_oneof![4 => Just(Some(0u8)), 1 => (1u8..6).prop_map(Some), 1 => Just(None)]
}

proptest! {
    /// Whatever happens, in whatever order: one last frame and nothing behind it; done only where the answer ended well and
    /// was spoken; what is told is what was written; what is said comes before there is no more.
    #[test]
    fn it_ends_once_and_never_better_than_it_was(
        inputs in prop::collection::vec((input(), "[a-zA-Z.,!? \n*#]{0,40}"), 1..40),
    ) {
        let (mut turn, mut written, mut told, mut last, mut no_more) = (turn(), String::new(), String::new(), 0, false);
        let (mut answered, mut broke, mut spoke) = (false, false, false);
        for (kind, text) in inputs {
            let was_over = turn.outcome().is_some();
            let is_open = !was_over && !answered && !broke;
            let steps = match kind {
                Some(0) => {
                    if is_open { written += &text; }
                    turn.on(Input::Written(text), NOW)
                }
                Some(1) => { let steps = turn.on(Input::Answered(end()), NOW); answered |= is_open; steps }
                Some(2) => { let steps = turn.on(Input::Broke(TurnError::Empty), NOW); broke |= is_open; steps }
                // Speech ends when there is no more to be said, or it fails.
                Some(3) if no_more => { spoke = true; turn.on(Input::Spoke(Ok(())), NOW) }
                Some(4) => turn.on(Input::Spoke(Err(SpeechError::Leaving)), NOW),
                Some(5) => turn.on(Input::Tick, Duration::from_secs(60)),
                Some(_) => Vec::new(),
                None => turn.interrupt(50).map(Step::Show).into_iter().collect(),
            };
            prop_assert!(!was_over || steps.is_empty(), "behind the end: {:?}", steps);
            for step in steps {
                match step {
                    Step::Write(text, _) => told += &text,
                    Step::Say(_) => prop_assert!(!no_more),
                    Step::NoMore => no_more = true,
                    Step::Show(frame) if frame.is_last() => {
                        last += 1;
                        if matches!(frame, Frame::Done(_)) {
                            prop_assert!(answered && !broke && (spoke || !turn.speaks));
                        }
                    }
                    _ => {}
                }
            }
            prop_assert_eq!(last, u32::from(turn.outcome().is_some()));
        }
        prop_assert_eq!(told, written);
    }
}
