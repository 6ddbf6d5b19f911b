//! What of Sentry has to be known before a request of a bound token can be decided: which id a slug has
//! at the moment, and what a release or an issue belongs to.

/// A question to Sentry. The names are as requests have them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Which organisation has this slug.
    Organization(Box<str>),
    /// Which project of an organisation has this slug.
    Project {
        /// The organisation, by slug or id.
        organization: Box<str>,
        /// The slug.
        project: Box<str>,
    },
    /// Which projects have this release.
    Release {
        /// The organisation, by slug or id.
        organization: Box<str>,
        /// The release.
        version: Box<str>,
    },
    /// Which project has this issue.
    Issue {
        /// The organisation, by slug or id.
        organization: Box<str>,
        /// The number or the short id.
        issue: Box<str>,
    },
}

/// What Sentry says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Learnt {
    /// These ids: of the organisation that was asked for, or of projects.
    Ids(Box<[u64]>),
    /// There is no such thing, or it has moved.
    Nothing,
    /// Sentry can't be asked.
    Unavailable,
}

/// What was learnt for one request so far.
#[derive(Clone, Debug, Default)]
pub struct Answers(Vec<(Question, Learnt)>);

impl Answers {
    /// More than a request with an honest purpose asks for.
    pub const MOST: usize = 32;

    /// Adds an answer.
    pub fn add(&mut self, question: Question, learnt: Learnt) {
        self.0.push((question, learnt));
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The answer to `question`, if it was asked.
    pub fn to(&self, question: &Question) -> Option<&Learnt> {
        self.0.iter().find(|(asked, _)| asked == question).map(|(_, learnt)| learnt)
    }
}
