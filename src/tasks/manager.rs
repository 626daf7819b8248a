//! What the service manager that started us is told, where there is one (systemd's `sd_notify`): that we are ready, that we live, and that
//! we leave. Invariant: without one nothing is done, and one that cannot be told is no reason to stop.

use std::time::Duration;

use sd_notify::NotifyState;

/// Clients are let in; `status` is what an operator is shown.
pub fn ready(status: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// How often it wants to hear that we live, if it does: twice in the time after which it would kill us, as systemd.service(5) advises.
pub fn wants_signs_every() -> Option<Duration> {
    sd_notify::watchdog_enabled().map(|patience| patience / 2).filter(|every| !every.is_zero())
}

/// We live.
pub fn alive() {
    tell(&[NotifyState::Watchdog]);
}

/// We leave.
pub fn leaving() {
    tell(&[NotifyState::Stopping, NotifyState::Status("leaving")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
