//! What systemd is told, where it started the gateway with `Type=notify` or `notify-reload`.

use std::io;

use sd_notify::NotifyState;

/// The gateway serves; after a hand-over it is the main process from now on.
pub(super) fn serving() {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

/// The config is read again, which ends with [`serving`].
pub(super) fn reloading() {
    let now = NotifyState::monotonic_usec_now();
    match now {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(error) => failed(&error),
    }
}

/// The gateway ends, unless it only makes way for another process.
pub(super) fn stopping(succeeded: bool) {
    if !succeeded {
        tell(&[NotifyState::Stopping]);
    }
}

fn tell(state: &[NotifyState<'_>]) {
    // Without systemd there is nobody to tell, and this does nothing.
    if let Err(error) = sd_notify::notify(state) {
        failed(&error);
    }
}

fn failed(error: &io::Error) {
    tracing::warn!(%error, "systemd can't be told of the gateway's state");
}
