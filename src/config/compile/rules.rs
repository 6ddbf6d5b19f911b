//! Rules, and the version of Sentry that they are for.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::super::problem::Problem;
use super::super::raw::RawRules;
use super::super::rules::RuleSet;
use super::super::version::SentryVersion;
use super::super::{EDGE_RULES, EDGE_RULES_NAME, SENTRY_RULES, SENTRY_RULES_NAME};
use super::Compiler;
use crate::policy::exposure::{Exposure, Service};
use crate::policy::rules::{Access, Rule, RuleTable};

/// Has the key looked up where SDKs send what Relay takes.
fn check_key(rule: &mut Rule) {
    let ingests = rule.exposure == Exposure::Ingest && rule.service == Service::Relay;
    if ingests && rule.access == Access::Pass {
        rule.access = Access::ProjectKey;
        rule.credentials = rule.access.usual_credentials();
    }
}

impl Compiler<'_> {
    /// The version of Sentry in front of which the gateway stands.
    pub(super) fn sentry_version(&mut self, raw: &RawRules) -> SentryVersion {
        let (oldest, at) = (SentryVersion::OLDEST, "rules.sentry_version");
        let Some(text) = raw.sentry_version.as_deref() else { return SentryVersion::NEWEST };
        let version = self.parsed(at, text.parse(), "`sentry --version` says it").unwrap_or(oldest);
        if version < oldest {
            let what = format!("`{text}` is older than the oldest that the rules know, `{oldest}`");
            let help = format!(
                "write `sentry_version = \"{oldest}\"`, and close in a file of your own what is not there yet"
            );
            self.problem(at, what, help);
        }
        if raw.sentry && version > SentryVersion::NEWEST {
            let newest = SentryVersion::NEWEST;
            let what = format!(
                "the shipped rules know Sentry up to {newest}: what {version} added has no rule"
            );
            let help =
                "`portcullis routes diff` shows it, `portcullis routes import` makes rules of it";
            self.notes.push(Problem::new(at, what, help));
        }
        version
    }

    /// Says where an own rule lets anybody through to the API.
    fn note_passes(&mut self, rules: &[Rule]) {
        let shipped = |rule: &Rule| rule.place.starts_with(EDGE_RULES_NAME);
        let to_api = |rule: &&Rule| rule.exposure == Exposure::Api && rule.access == Access::Pass;
        for rule in rules.iter().filter(|rule| to_api(rule) && !shipped(rule)) {
            let what = format!(
                "`{}` is let through with whatever credential comes, and without one",
                rule.template
            );
            let help = "write `access = \"authenticated\"` or `scopes`, unless Sentry itself asks for one there";
            self.notes.push(Problem::new(&*rule.place, what, help));
        }
    }

    pub(super) fn rules(
        &mut self,
        raw: &RawRules,
        sentry: SentryVersion,
        check_keys: bool,
        hash: &mut Sha256,
    ) -> Option<RuleTable> {
        let before = self.problems.len();
        let mut set = RuleSet::new(sentry);
        if raw.sentry {
            hash.update(SENTRY_RULES);
            set.add_file(SENTRY_RULES_NAME, SENTRY_RULES, &mut self.problems);
            hash.update(EDGE_RULES);
            set.add_file(EDGE_RULES_NAME, EDGE_RULES, &mut self.problems);
        }
        for (index, file) in raw.files.iter().enumerate() {
            let path: PathBuf = self.folder.join(file);
            match self.source.read(&path) {
                Ok(text) => {
                    hash.update(&text);
                    set.add_file(file, &text, &mut self.problems);
                }
                Err(error) => {
                    let what = format!("`{file}` can't be read: {error}");
                    self.problem(format!("rules.files[{index}]"), what, "name a file that exists");
                }
            }
        }
        let mut rules = set.into_rules();
        self.note_passes(&rules);
        if check_keys {
            rules.iter_mut().for_each(check_key);
        }
        if rules.is_empty() && self.problems.len() == before {
            let help = "write `sentry = true`, or name a file with rules in `files`";
            self.problem("rules", "there is none, so every request would be refused", help);
        }
        match RuleTable::build(rules) {
            Ok(table) => Some(table),
            Err(conflicts) => {
                for conflict in conflicts {
                    self.problem(
                        "rules",
                        conflict.to_string(),
                        "see `config/sentry.toml` for the form of a rule",
                    );
                }
                None
            }
        }
    }
}
