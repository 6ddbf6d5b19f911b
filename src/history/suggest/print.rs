//! A proposal as people read it, with what can be pasted.

use std::collections::BTreeMap;
use std::fmt;

use super::Proposal;

use crate::policy::template::is_digits;

/// A proposal, and the config of the gateway that it is for.
#[derive(Debug)]
pub struct Told<'a> {
    proposal: &'a Proposal,
    config: &'a str,
}

impl fmt::Display for Told<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Told { proposal, config } = *self;
        let (id, kind) = (proposal.principal.escape_debug(), proposal.kind.escape_debug());
        let (first, last) = (proposal.first.escape_debug(), proposal.last.escape_debug());
        writeln!(
            f,
            "{id} ({kind}): {} requests let through, {first} to {last}",
            proposal.requests
        )?;
        for (rule, count) in &proposal.rules {
            writeln!(f, "  did      {count:>7}  {rule}")?;
        }
        for (rule, why) in &proposal.impossible {
            writeln!(f, "  not by a token of the gateway: {rule}: {why}")?;
        }
        for route in &proposal.elsewhere {
            writeln!(f, "  no rule of this config: {}", route.escape_debug())?;
        }
        for (reason, count) in &proposal.refused {
            writeln!(
                f,
                "  refused  {count:>7}  {} (not in what is proposed)",
                reason.escape_debug()
            )?;
        }
        let list = |names: &[&str]| {
            if names.is_empty() { "none".to_owned() } else { names.join(" ") }
        };
        let sure =
            if proposal.is_least { "" } else { " (less may do: there are too many ways to try)" };
        writeln!(f, "  needs    {}{sure}", list(&proposal.scopes))?;
        if let Some(held) = &proposal.held {
            writeln!(f, "  holds    {}", list(held))?;
            writeln!(f, "  unneeded {}", list(&proposal.unneeded))?;
        }
        if proposal.read_only {
            writeln!(f, "  only reads")?;
        }
        if !proposal.projects.is_empty() {
            writeln!(f, "  projects {}", proposal.projects.join(" "))?;
        }
        if let Some(why) = &proposal.unbound {
            writeln!(f, "  unbound  {why}")?;
        }
        if proposal.needs_a_token() {
            writeln!(f, "  {}", proposal.command(config))?;
        }
        Ok(())
    }
}

impl Proposal {
    /// For people, with a command for the gateway of this config.
    pub const fn told<'a>(&'a self, config: &'a str) -> Told<'a> {
        Told { proposal: self, config }
    }

    /// The command that issues the token, for a shell.
    pub fn command(&self, config: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = self.principal.chars().take(64).map(plain).collect();
        let mut words =
            format!("portcullis token create --config {} --name narrow-{name}", quoted(config));
        if self.kind == "api_key" {
            words.push_str(" --kind api-key");
        }
        for scope in &self.scopes {
            words.push_str(&format!(" --scope {scope}"));
        }
        for organization in &self.organizations {
            words.push_str(&format!(" --organization {organization}"));
        }
        // A slug is a project's own only within an organization.
        for project in &self.projects {
            let owner = match self.organizations.as_slice() {
                [only] if !is_digits(project) => format!("{only}/"),
                _ => String::new(),
            };
            words.push_str(&format!(" --project {owner}{project}"));
        }
        if self.read_only {
            words.push_str(" --read-only");
        }
        words + &format!(" --expires {}d", self.days)
    }
}

/// A word of a shell.
fn quoted(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    if text.bytes().all(plain) && !text.is_empty() {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', "'\\''"))
}

/// Profiles for tokens: one for all that need the same.
pub fn profiles(proposals: &[Proposal]) -> String {
    let mut alike: BTreeMap<(&[&str], Vec<&str>, bool), Vec<&str>> = BTreeMap::new();
    for proposal in proposals.iter().filter(|proposal| proposal.needs_a_token()) {
        let possible = |rule: &&String| !proposal.impossible.contains_key(*rule);
        let rules = proposal.rules.keys().filter(possible).map(String::as_str).collect();
        let key = (proposal.scopes.as_slice(), rules, proposal.read_only);
        alike.entry(key).or_default().push(&proposal.principal);
    }
    let mut text = String::new();
    for (number, ((scopes, rules, read_only), callers)) in alike.into_iter().enumerate() {
        for caller in callers {
            text.push_str(&format!("# {}\n", caller.escape_debug()));
        }
        text.push_str(&format!(
            "[profile.suggested-{}]\nscopes = {scopes:?}\nrules = [\n",
            number + 1
        ));
        for rule in rules {
            text.push_str(&format!("    {rule:?},\n"));
        }
        text.push_str("]\n");
        if read_only {
            text.push_str("read_only = true\n");
        }
        text.push('\n');
    }
    text
}
