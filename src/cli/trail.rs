//! What a command did, for the audit of the gateway that it is about.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use anyhow::Context as _;

use crate::clock::{Clock as _, SystemClock};
use crate::telemetry::audit::{Actor, Administration, Trail};

/// What `login_uid` is of nobody who has logged in.
const NOBODY: u32 = u32::MAX;

/// Records what a command does, where the audit is a file.
pub(super) struct Recorder {
    trail: Option<Trail>,
    uid: u32,
    user: Option<String>,
    login_uid: Option<u32>,
}

impl Recorder {
    /// Opens the audit, before anything is changed.
    ///
    /// # Errors
    /// When it can't be written, so that nothing may be changed.
    pub(super) fn open(audit: Option<&Path>) -> anyhow::Result<Self> {
        let trail = audit.map(Trail::open).transpose().context("nothing was changed")?;
        // The folder of a process belongs to whom it runs as.
        let uid = fs::metadata("/proc/self").context("`/proc` is missing; mount it")?.uid();
        Ok(Self { trail, uid, user: name_of(uid), login_uid: login_uid() })
    }

    /// Records what was done to what.
    ///
    /// # Errors
    /// When it could not be recorded, though it is done.
    pub(super) fn did(&mut self, action: &'static str, target: &str) -> anyhow::Result<()> {
        let Some(trail) = &mut self.trail else { return Ok(()) };
        let (uid, user, login_uid) = (self.uid, self.user.as_deref(), self.login_uid);
        let done = Administration {
            at: SystemClock.now(),
            action,
            result: "done",
            target: Some(target),
            actor: Actor::Command { uid, user, login_uid },
            left_out: None,
            config_hash: None,
        };
        let missing = || format!("`{action}` of `{target}` is done, and the audit does not say so");
        trail.append(&done).with_context(missing)
    }
}

fn name_of(uid: u32) -> Option<String> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let uid = uid.to_string();
    let of = |line: &&str| line.split(':').nth(2) == Some(&*uid);
    users.lines().find(of)?.split(':').next().map(str::to_owned)
}

/// Who logged in, where Linux keeps that: it stays through `sudo`.
fn login_uid() -> Option<u32> {
    let text = fs::read_to_string("/proc/self/loginuid").ok()?;
    text.trim().parse().ok().filter(|uid| *uid != NOBODY)
}
