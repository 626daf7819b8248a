//! What the samples say. Invariant: a pure function of them, so that every state can be shown by a test;
//! a state is never worse than *flat* without a finding that names why.

use serde::Serialize;

use super::sample::Sample;
use super::slope::{self, Slope};
use crate::ledger::Kind;
use crate::limits::{
    GROWING_BYTES_A_MINUTE, GROWTH_LEAST_BYTES, LEAK_BYTES_A_MINUTE, LEAK_SAMPLES, LINGER_MOST,
    MULTIPLIED_LEAST,
};

/// Newest samples over which a trend is looked for, beside all of them: a leak that has just begun is
/// hidden in a long look back.
const WINDOWS: [usize; 3] = [LEAK_SAMPLES, 2 * LEAK_SAMPLES, 4 * LEAK_SAMPLES];

/// How the memory of the process does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nobody looks.
    #[default]
    Off,
    /// Too few samples to say anything.
    Starting,
    /// Nothing grows.
    Flat,
    /// It grows, which may well be load.
    Growing,
    /// The process has what the ledger does not know of, or has not what it knows.
    Disagrees,
    /// What lives without a client, or grows without an account.
    LeakSuspected,
}

impl State {
    /// All of them.
    pub const ALL: [State; 6] = [
        State::Off,
        State::Starting,
        State::Flat,
        State::Growing,
        State::Disagrees,
        State::LeakSuspected,
    ];

    /// As on the wire.
    pub fn name(self) -> &'static str {
        match self {
            State::Off => "off",
            State::Starting => "starting",
            State::Flat => "flat",
            State::Growing => "growing",
            State::Disagrees => "disagrees",
            State::LeakSuspected => "leak_suspected",
        }
    }
}

/// What [`judge`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// The worst of all that was found.
    pub state: State,
    /// A sentence for each finding; kinds only, no owners.
    pub findings: Vec<String>,
    /// Of the allocated bytes, over all samples.
    pub slope: Option<Slope>,
    /// What is suspected to leak: kinds, or where memory is that none explains.
    pub suspects: Vec<&'static str>,
}

impl Verdict {
    fn find(&mut self, state: State, finding: String) {
        self.state = self.state.max(state);
        self.findings.push(finding);
    }

    fn suspect(&mut self, what: &'static str, finding: String) {
        self.suspects.push(what);
        self.find(State::LeakSuspected, format!("{what}: {finding}"));
    }
}

/// Judges `samples`, the oldest first.
pub fn judge(samples: &[Sample]) -> Verdict {
    let mut verdict = Verdict { slope: trend(samples, allocated), ..Verdict::default() };
    let Some(newest) = samples.len().checked_sub(LEAK_SAMPLES).map(|from| &samples[from..]) else {
        verdict.state = State::Starting;
        return verdict;
    };
    verdict.state = State::Flat;
    without_client(newest, &mut verdict);
    without_account(samples, &mut verdict);
    disagreement(newest, &mut verdict);
    if verdict.state < State::LeakSuspected {
        growth(samples, &mut verdict);
        multiplication(samples, &mut verdict);
    }
    if matches!(verdict.state, State::Growing | State::LeakSuspected) {
        grown_kinds(samples, &mut verdict);
    }
    verdict
}

/// What is there for clients while there is none, or after its own has left.
fn without_client(newest: &[Sample], verdict: &mut Verdict) {
    // A dialogue waits a while for somebody to come, or to come back; one that waits for longer is its sweep's to find.
    let clients = |sample: &Sample| sample.live(Kind::Connection) + sample.live(Kind::Dialogue);
    let alone = newest.iter().all(|sample| clients(sample) == 0);
    for kind in Kind::ALL.iter().filter(|kind| !kind.is_standing()) {
        let least = newest.iter().map(|sample| sample.live(*kind)).min().unwrap_or(0);
        let lingering = newest.last().map_or(0, |sample| sample.lingering[*kind as usize]);
        let name = kind.name();
        if alone && least > 0 {
            verdict.suspect(name, format!("{least} alive while no client is connected"));
        } else if lingering > 0 {
            let most = LINGER_MOST.as_secs();
            verdict.suspect(name, format!("{lingering} alive {most} s after their client left"));
        }
    }
}

/// Memory that grows although nothing that has an account does. While load rises, accounts rise with
/// what is allocated; while it falls, what is allocated falls: so both must rise, the whole and what no
/// account explains.
fn without_account(samples: &[Sample], verdict: &mut Verdict) {
    let outside_ledger = |s: &Sample| allocated(s) - s.accounted() as f64;
    // An index that grows has ever more of its files mapped, which is no memory of the process's own.
    let outside_allocator = |s: &Sample| s.anonymous() as f64 - s.heap.resident as f64;
    let quick = LEAK_BYTES_A_MINUTE;
    let pairs: [(&'static str, Series, Series); 2] = [
        ("outside the ledger", &allocated, &outside_ledger),
        ("outside the allocator", &|s| s.anonymous() as f64, &outside_allocator),
    ];
    for (name, whole, part) in pairs {
        let rates = windows(samples).filter_map(|window| {
            let (whole, part) = (rise(window, whole)?, rise(window, part)?);
            Some(whole.min(part)).filter(|rate| *rate >= quick)
        });
        if let Some(rate) = rates.reduce(f64::max) {
            verdict.suspect(name, format!("at least {:.1} MB more each minute", rate / 1e6));
        }
    }
}

/// Books that differ from what runtime and kernel count, in the same direction, look after look.
fn disagreement(newest: &[Sample], verdict: &mut Verdict) {
    let sides: [(&str, Pair); 2] = [
        ("tasks", |s| (s.census.process.tasks, s.census.expected.tasks)),
        ("file descriptors", |s| (s.census.process.fds, s.census.expected.fds)),
    ];
    for (what, of) in sides {
        let least = |gap: fn((u64, u64)) -> u64| newest.iter().map(of).map(gap).min().unwrap_or(0);
        let more = least(|(process, expected)| process.saturating_sub(expected));
        let fewer = least(|(process, expected)| expected.saturating_sub(process));
        if more > 0 {
            verdict.find(State::Disagrees, format!("{what}: {more} more than the ledger knows"));
        } else if fewer > 0 {
            verdict.find(State::Disagrees, format!("{what}: {fewer} fewer than the ledger says"));
        }
    }
    let threads = newest.iter().map(|s| (s.census.process.threads, s.census.expected.threads_most));
    let over = threads.map(|(there, most)| there.saturating_sub(most)).min().unwrap_or(0);
    if over > 0 {
        verdict.find(State::Disagrees, format!("threads: {over} more than there can be"));
    }
}

fn growth(samples: &[Sample], verdict: &mut Verdict) {
    if let Some(rate) = rise(samples, &allocated).filter(|rate| *rate >= GROWING_BYTES_A_MINUTE) {
        let finding = format!("allocated: at least {:.1} MB more each minute", rate / 1e6);
        verdict.find(State::Growing, finding);
    }
}

/// Things that become more and more while connections do not: they have owners, but nobody ends them.
fn multiplication(samples: &[Sample], verdict: &mut Verdict) {
    if multiplied(samples, Kind::Connection, 1).is_some() {
        return;
    }
    let kinds = Kind::ALL.iter().filter(|kind| !kind.is_kept());
    for kind in kinds {
        if let Some((before, now)) = multiplied(samples, *kind, MULTIPLIED_LEAST) {
            let name = kind.name();
            let finding = format!("{name}: from {before} to {now}, with no more connections");
            verdict.find(State::Growing, finding);
        }
    }
}

/// The most in the first third and the least in the last one, if that is more by `least`.
fn multiplied(samples: &[Sample], kind: Kind, least: u64) -> Option<(u64, u64)> {
    let third = samples.len() / 3;
    let lives = |part: &[Sample]| part.iter().map(|sample| sample.live(kind)).collect::<Vec<_>>();
    let before = lives(&samples[..third]).into_iter().max()?;
    let now = lives(&samples[samples.len() - third..]).into_iter().min()?;
    (third >= LEAK_SAMPLES && now >= before + least).then_some((before, now))
}

fn grown_kinds(samples: &[Sample], verdict: &mut Verdict) {
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else { return };
    for kind in Kind::ALL {
        let (before, now) = (first.live(*kind), last.live(*kind));
        let begin = format!("{}: ", kind.name());
        let said = verdict.findings.iter().any(|finding| finding.starts_with(&begin));
        if now > before && !said {
            verdict.findings.push(format!("{begin}from {before} to {now}"));
        }
    }
}

/// What the process has, and what the ledger says.
type Pair = fn(&Sample) -> (u64, u64);

/// A number of each sample.
type Series<'a> = &'a dyn Fn(&Sample) -> f64;

fn allocated(sample: &Sample) -> f64 {
    sample.heap.allocated as f64
}

/// All samples, and the newest few.
fn windows(samples: &[Sample]) -> impl Iterator<Item = &[Sample]> {
    let short = WINDOWS.into_iter().filter(|length| *length < samples.len());
    short.map(|length| &samples[samples.len() - length..]).chain([samples])
}

fn trend(samples: &[Sample], series: impl Fn(&Sample) -> f64) -> Option<Slope> {
    slope::fit(samples.iter().map(|sample| (sample.at_ms as f64 / 60_000.0, series(sample))))
}

/// Bytes a minute by which `series` surely rises, if what came together is worth a word. One step up is a
/// steep line as well, so most of the steps must have their part in it.
fn rise(samples: &[Sample], series: Series) -> Option<f64> {
    let slope = trend(samples, series)?;
    let minutes = samples.last()?.at_ms.saturating_sub(samples.first()?.at_ms) as f64 / 60_000.0;
    let mut steps: Vec<f64> =
        samples.windows(2).map(|pair| series(&pair[1]) - series(&pair[0])).collect();
    steps.sort_by(f64::total_cmp);
    let usual = steps[(steps.len() - 1) / 2] * steps.len() as f64;
    let whole = slope.low * minutes;
    (whole >= GROWTH_LEAST_BYTES && usual >= whole / 2.0).then_some(slope.low)
}

#[cfg(all(test, not(evensong_loom)))]
mod tests;
