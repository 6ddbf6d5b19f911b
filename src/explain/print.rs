//! A decision, spelled out for people.

use std::fmt;

use super::{Explanation, Observed, Outcome};

/// Names, for people.
pub(super) fn list(names: &[&str]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

impl fmt::Display for Explanation<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "request     {} {}", self.method, self.path)?;
        if let Some(host) = self.host {
            writeln!(f, "host        {host}")?;
        }
        if let Some(rule) = &self.rule {
            writeln!(f, "rule        {} ({})", rule.path, rule.place)?;
            for (name, value) in &rule.parameters {
                writeln!(f, "            {name} = {}", value.escape_debug())?;
            }
            let needs = if rule.scopes.is_empty() {
                rule.access.to_owned()
            } else {
                format!("one of {}", list(&rule.scopes))
            };
            writeln!(f, "needs       {needs}")?;
            writeln!(f, "takes       {}", list(&rule.credentials))?;
            if !rule.projects.is_empty() {
                writeln!(f, "projects    named by {}", rule.projects.join(", "))?;
            }
            writeln!(f, "goes to     {}, where `{}` is exposed", rule.upstream, rule.expose)?;
            if !rule.rewrite.is_empty() {
                writeln!(f, "rewrites    {}", rule.rewrite.join(", "))?;
            }
        }
        if let Some(credential) = &self.credential {
            let fingerprint = credential.fingerprint.as_deref().unwrap_or("unreadable");
            writeln!(f, "credential  {} {fingerprint}", credential.scheme)?;
        }
        if let Some(who) = &self.identity {
            writeln!(f, "identity    {} ({}, {}, {})", who.id, who.kind, who.issuer, who.state)?;
            writeln!(f, "holds       {}", list(&who.scopes))?;
            let (organizations, projects) = (&who.organizations, &who.projects);
            writeln!(f, "bound to    organizations: {organizations}; projects: {projects}")?;
            if !who.narrowed.is_empty() {
                writeln!(f, "narrowed    {}", who.narrowed.join("; "))?;
            }
        }
        for (index, limit) in self.limits.iter().enumerate() {
            writeln!(
                f,
                "{}  {}",
                if index == 0 { "limits    " } else { "          " },
                limit.line()
            )?;
        }
        if let Some(shadow) = &self.shadow {
            shadow.fmt(f)?;
        }
        match &self.outcome {
            Outcome::Allow {
                target,
                added,
                checks_body,
                authorization,
                identity_headers,
                assertion,
                observed,
            } => {
                writeln!(f, "allowed     forwarded as {} {target}", self.method)?;
                if let Some(added) = added {
                    writeln!(f, "            with `{added}` added to its query")?;
                }
                if *checks_body {
                    writeln!(
                        f,
                        "            if its body names nothing but what the token is bound to"
                    )?;
                }
                writeln!(f, "            credential upstream: {authorization}")?;
                let identity = if *identity_headers { "who called" } else { "none" };
                writeln!(f, "            identity headers upstream: {identity}")?;
                let assertion = assertion.as_deref().unwrap_or("none");
                writeln!(f, "            assertion upstream: {assertion}")?;
                let Some(Observed { status, code, detail, until }) = observed else {
                    return Ok(());
                };
                writeln!(f, "observed    from {until} on: {status} {code}\n            {detail}")
            }
            Outcome::Answer { allow } => writeln!(f, "answered    200, Allow: {allow}"),
            Outcome::Refuse { status, code, detail, .. } => {
                writeln!(f, "refused     {status} {code}\n            {detail}")
            }
        }
    }
}
