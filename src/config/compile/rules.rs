//! Rules, and the version of Sentry that they are for.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};

use super::super::problem::Problem;
use super::super::raw::RawRules;
use super::super::rules::RuleSet;
use super::super::version::SentryVersion;
use super::super::{EDGE_RULES, EDGE_RULES_NAME, SENTRY_RULES, SENTRY_RULES_NAME};
use super::{Compiler, LONGEST_OBSERVATION};
use crate::clock::Timestamp;
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

    /// When rules that are in shadow come into force, in order; says which they are.
    fn shadows(&mut self, rules: &[Rule]) -> Vec<Timestamp> {
        let now = self.source.now();
        let (mut ends, mut said) = (BTreeSet::new(), BTreeSet::new());
        for rule in rules {
            let Some(end) = rule.shadow_until else { continue };
            if end > now {
                ends.insert(end);
            }
            // A rule has a template for each of its paths.
            if !said.insert(&*rule.place) {
                continue;
            }
            let at = rule.place.to_string();
            let (methods, template) = (rule.methods, &rule.template);
            if end > now.after(LONGEST_OBSERVATION) {
                let what = format!("`shadow_until` is `{end}`, more than 90 days ahead");
                let help =
                    "have it in shadow for some days, read what it would refuse, and enforce it";
                self.problem(at, what, help);
            } else if end > now {
                let what = format!(
                    "`{methods} {template}` is in shadow until {end}: what it alone would refuse is let \
                     through, logged and counted as `shadow`"
                );
                let help = "read `refusals_total{decision=\"shadow\"}` and delete `shadow_until`";
                self.notes.push(Problem::new(at, what, help));
            } else {
                let what =
                    format!("`shadow_until` ended at {end}: `{methods} {template}` is in force");
                self.notes.push(Problem::new(at, what, "delete `shadow_until`"));
            }
        }
        ends.into_iter().collect()
    }

    pub(super) fn rules(
        &mut self,
        raw: &RawRules,
        sentry: SentryVersion,
        check_keys: bool,
        hash: &mut Sha256,
    ) -> Option<RuleTable> {
        let before = self.problems.len();
        let mut files: Vec<(&str, Cow<'_, str>)> = Vec::new();
        if raw.sentry {
            files.push((SENTRY_RULES_NAME, SENTRY_RULES.into()));
            files.push((EDGE_RULES_NAME, EDGE_RULES.into()));
        }
        for (index, file) in raw.files.iter().enumerate() {
            let path: PathBuf = self.folder.join(file);
            match self.source.read(&path) {
                Ok(text) => files.push((file, text.into())),
                Err(error) => {
                    let what = format!("`{file}` can't be read: {error}");
                    self.problem(format!("rules.files[{index}]"), what, "name a file that exists");
                }
            }
        }
        files.iter().for_each(|(_, text)| hash.update(&**text));
        let lay = |until: Timestamp, problems: &mut Vec<Problem>| {
            let mut set = RuleSet::new(sentry, until);
            for (name, text) in &files {
                set.add_file(name, text, problems);
            }
            let mut rules = set.into_rules();
            if check_keys {
                rules.iter_mut().for_each(check_key);
            }
            rules
        };
        let mut rules = lay(Timestamp::from_millis(u64::MAX), &mut self.problems);
        self.note_passes(&rules);
        let ends = self.shadows(&rules);
        let mut later = Vec::new();
        if let Some((last, others)) = ends.split_last() {
            // What is wrong without a rule that is in shadow is wrong too, and is said once.
            let mut problems = Vec::new();
            let now = lay(self.source.now(), &mut problems);
            later.extend(others.iter().map(|end| (*end, lay(*end, &mut problems))));
            later.push((*last, std::mem::replace(&mut rules, now)));
            problems.retain(|problem| !self.problems.contains(problem));
            problems.dedup();
            self.problems.extend(problems);
        }
        if rules.is_empty() && self.problems.len() == before {
            let help = "write `sentry = true`, or name a file with rules in `files`";
            self.problem("rules", "there is none, so every request would be refused", help);
        }
        match RuleTable::staged(rules, later) {
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
